"""The cross-entropy of sparse-softmax: only the k largest logits compete."""

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Bool, Float, Int

from softmax_jax.errors import UserError
from softmax_jax.normalizers import order, rows
from softmax_jax.normalizers.base import compute_dtype


def sparse_softmax_loss(
    logits: Float[ArrayLike, "*b n"],
    labels: Int[ArrayLike, "*b"],
    *,
    k: int = 10,
    where: Bool[ArrayLike, "..."] | None = None,
) -> Float[Array, "*b"]:
    """log sum of e^(z_j) over the k largest logits - z_label, one loss per row.

    The gradient is `sparse_softmax(z) - one_hot(label)`. The label need not be among
    the k largest: then the loss is at least log k, and the gradient still lifts the
    label and sums to 0. A class that is neither learns nothing. The loss is never above
    that of softmax, and equal to it for k >= n. Logits tied with the k-th largest all
    take part, as in `sparse_softmax`.

    Classes where `where` is False, and logits of -inf, are masked: they are not ranked
    and get no gradient. A masked label costs infinity; a row without classes costs 0.
    `where` broadcasts against the logits. Computes in float32 or wider, and returns
    that dtype.

    Raises UserError for k < 1 and for labels whose shape is not that of the rows. As in
    `jnp.take_along_axis`, a label outside 0 ... n - 1 is not noticed: it costs NaN.

    arXiv 2112.12433; the formula as in the code of its co-author J. Su.

    >>> import jax.numpy as jnp
    >>> import softmax_jax as sj
    >>> z = jnp.array([3.0, 2.0, 1.0, 0.0])
    >>> [round(float(sj.losses.sparse_softmax_loss(z, t, k=2)), 3) for t in (0, 3)]
    [0.313, 3.313]
    """
    if k < 1:
        raise UserError(f"sparse_softmax_loss: k must be at least 1, got {k}")
    logits, labels = jnp.asarray(logits), jnp.asarray(labels)
    if labels.shape != logits.shape[:-1]:
        raise UserError(
            f"sparse_softmax_loss: labels of shape {labels.shape} do not fit logits of "
            f"shape {logits.shape}; one label per row is needed"
        )
    visible = logits != -jnp.inf
    if where is not None:
        visible = visible & jnp.broadcast_to(jnp.asarray(where, bool), logits.shape)
    z = logits.astype(compute_dtype(logits.dtype))
    # An empty row is computed as a full row of zeros, so that no gradient is NaN.
    is_empty = ~visible.any(-1, keepdims=True)
    z, ranked = rows.hide(z, visible), visible | is_empty
    smallest = jax.lax.stop_gradient(order.kth_largest(z, ranked, k))
    kept = ranked & ~(z < smallest)  # so that a NaN is not hidden
    mass = jax.nn.logsumexp(z, axis=-1, where=kept)
    shown = rows.hide(z, ranked, -jnp.inf)
    target = jnp.take_along_axis(shown, labels[..., None], axis=-1)[..., 0]
    return jnp.where(is_empty[..., 0], 0, mass - target)
