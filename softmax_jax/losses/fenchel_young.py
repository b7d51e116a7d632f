"""Losses of sparsemax and entmax, whose cross-entropy would be infinite."""

import numbers

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Bool, Float, Int

from softmax_jax.errors import UserError
from softmax_jax.normalizers import rows
from softmax_jax.normalizers.base import compute_dtype
from softmax_jax.normalizers.entmax import Entmax, Entmax15
from softmax_jax.normalizers.rows import Rows, Visible
from softmax_jax.normalizers.sparsemax import Sparsemax

Tsallis = Sparsemax | Entmax15 | Entmax


def entmax_loss(
    logits: Float[ArrayLike, "*b n"],
    labels: Int[ArrayLike, "*b"],
    *,
    alpha: Float[ArrayLike, ""] = 1.5,
    where: Bool[ArrayLike, "..."] | None = None,
) -> Float[Array, "*b"]:
    """max_p [p.z + H(p)] - z_label over the simplex, one loss per row.

    H(p) = sum_j (p_j - p_j^alpha) / (alpha (alpha - 1)). This is the Fenchel-Young loss
    of `entmax`: convex, never negative, with gradient `entmax(z, alpha) - one_hot`. It
    is exactly 0 once the label leads by 1 / (alpha - 1), where cross-entropy never is.
    For alpha -> 1 it tends to cross-entropy; alpha = 2 is `sparsemax_loss`.

    `alpha` > 1 is one number for all rows and may be learned, if it is an array. Masks,
    dtypes and errors are those of `sparse_softmax_loss`: a masked label costs infinity,
    a row without classes 0, a label outside 0 ... n - 1 NaN.

    arXiv 1905.05702, Eq. 11; arXiv 1901.02324.

    >>> import jax.numpy as jnp
    >>> import softmax_jax as sj
    >>> z = jnp.array([3.0, 2.0, 0.0])
    >>> [round(float(sj.losses.entmax_loss(z, t)), 3) for t in (0, 1, 2)]
    [0.062, 1.062, 3.062]
    """
    row: Tsallis = Entmax(alpha=alpha)
    if isinstance(alpha, numbers.Real) and alpha in QUICK:
        row = QUICK[float(alpha)]
    return _loss("entmax_loss", row, logits, labels, where)


def sparsemax_loss(
    logits: Float[ArrayLike, "*b n"],
    labels: Int[ArrayLike, "*b"],
    *,
    where: Bool[ArrayLike, "..."] | None = None,
) -> Float[Array, "*b"]:
    """max_p [p.z + (1 - |p|^2) / 2] - z_label over the simplex, one loss per row.

    The gradient is `sparsemax(z) - one_hot(label)`; the loss is 0 once the label leads
    by 1. Otherwise as `entmax_loss`.

    arXiv 1602.02068, Eq. 22.

    >>> import jax.numpy as jnp
    >>> import softmax_jax as sj
    >>> z = jnp.array([1.5, 1.0, 0.0])
    >>> [round(float(sj.losses.sparsemax_loss(z, t)), 4) for t in (0, 1, 2)]
    [0.0625, 0.5625, 1.5625]
    """
    return _loss("sparsemax_loss", Sparsemax(), logits, labels, where)


# The members of the family with a solver in squares instead of powers.
QUICK: dict[float, Tsallis] = {1.5: Entmax15(), 2.0: Sparsemax()}


def _loss(name: str, row: Tsallis, logits, labels, where) -> Array:
    row.check()
    logits, labels = jnp.asarray(logits), jnp.asarray(labels)
    if labels.shape != logits.shape[:-1]:
        raise UserError(
            f"{name}: labels of shape {labels.shape} do not fit logits of shape "
            f"{logits.shape}; one label per row is needed"
        )
    visible = logits != -jnp.inf
    if where is not None:
        visible = visible & jnp.broadcast_to(jnp.asarray(where, bool), logits.shape)
    z = rows.hide(logits.astype(compute_dtype(logits.dtype)), visible)
    row = jax.tree.map(lambda leaf: jnp.asarray(leaf, z.dtype), row)
    value = _fenchel_young(row, z, labels, visible)
    shown = jnp.take_along_axis(visible, labels[..., None], -1, mode="clip")[..., 0]
    inside = (labels >= 0) & (labels < logits.shape[-1])
    value = jnp.where(shown | ~inside, value, jnp.inf)
    return jnp.where(visible.any(-1), jnp.where(inside, value, jnp.nan), 0)


@jax.custom_jvp
def _fenchel_young(row: Tsallis, z: Rows, labels: Array, visible: Visible) -> Array:
    p = row(z, where=visible)
    target = jnp.take_along_axis(z, labels[..., None], -1, mode="clip")
    return (p * (z - target)).sum(-1) + _entropy(row, p)


@_fenchel_young.defjvp
def _fenchel_young_jvp(primals, tangents):
    """dL = (p - one_hot).dz + d H at fixed p, for p is where the maximum is."""
    row, z, labels, visible = primals
    p = row(z, where=visible)
    classes = jnp.arange(z.shape[-1], dtype=labels.dtype)
    classes = classes.reshape((1,) * labels.ndim + (-1,))
    slope = p - (classes == labels[..., None]).astype(p.dtype)
    _, of_entropy = jax.jvp(lambda row: _entropy(row, p), (row,), (tangents[0],))
    return _fenchel_young(*primals), (slope * tangents[1]).sum(-1) + of_entropy


def _entropy(row: Tsallis, p: Rows) -> Array:
    """sum_j (p_j - p_j^alpha) / (alpha (alpha - 1)), exact for alpha near 1 too."""
    if isinstance(row, Sparsemax):
        return (p * (1 - p)).sum(-1) / 2
    if isinstance(row, Entmax15):
        return (p * (1 - jnp.sqrt(p))).sum(-1) / 0.75
    log_p = jnp.log(jnp.where(p == 0, 1, p))
    rest = -(p * jnp.expm1((row.alpha - 1) * log_p)).sum(-1)
    return rest / (row.alpha * (row.alpha - 1))
