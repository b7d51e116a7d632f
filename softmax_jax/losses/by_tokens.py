"""Any loss of a linear layer, with the logits of a few tokens at a time."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Int

from softmax_jax.errors import UserError
from softmax_jax.normalizers.base import compute_dtype

# Logits at once unless told otherwise: 64 MiB in float32.
LOGITS = 2**24


def linear_loss(
    loss: Callable[[Array, Array], Array],
    hidden: Float[ArrayLike, "*b d"],
    weight: Float[ArrayLike, "v d"],
    labels: Int[ArrayLike, "*b"],
    bias: Float[ArrayLike, " v"] | None = None,
    *,
    tokens: int | None = None,
) -> Float[Array, "*b"]:
    """loss(weight @ hidden + bias, labels), of `tokens` tokens after one another.

    `loss` takes logits [t, v] and labels [t] to one number per token, such as
    `sparsemax_loss`, `sparse_softmax_loss` or a `functools.partial` of `entmax_loss`,
    which need a row whole. Logits are computed again in the backward pass, so that
    those of more tokens are never in memory; what is summed over tokens is so in
    float32 or wider. A token whose label is negative costs 0. For softmax and its
    links, `linear_cross_entropy` needs no whole rows.

    >>> import jax.numpy as jnp
    >>> import softmax_jax as sj
    >>> hidden, weight = jnp.array([[1.0], [2.0]]), jnp.array([[2.0], [0.5], [0.0]])
    >>> labels = jnp.array([0, 1])
    >>> found = sj.losses.linear_loss(
    ...     sj.losses.sparsemax_loss, hidden, weight, labels, tokens=1
    ... )
    >>> [round(float(x), 3) for x in found]
    [0.0, 3.0]
    """
    hidden, labels = jnp.asarray(hidden), jnp.asarray(labels)
    weight = jnp.asarray(weight)
    if labels.shape != hidden.shape[:-1] or weight.shape[1:] != hidden.shape[-1:]:
        raise UserError(
            f"linear_loss: hidden of shape {hidden.shape}, weight of shape "
            f"{weight.shape} and labels of shape {labels.shape} do not fit each other"
        )
    wide = compute_dtype(hidden.dtype)
    kernel = weight.astype(wide)
    offset = None if bias is None else jnp.asarray(bias, wide)[None]

    def some(pair: tuple[Array, Array]) -> Array:
        x, labels = pair
        z = jax.lax.dot_general(
            x,
            kernel.astype(x.dtype),
            (((1,), (1,)), ((), ())),
            preferred_element_type=wide,
        )
        z = z if offset is None else z + offset
        return jnp.where(labels >= 0, loss(z, jnp.maximum(labels, 0)), 0)

    some = jax.checkpoint(some, prevent_cse=False)
    x = jnp.where((labels >= 0)[..., None], hidden, 0).reshape(-1, hidden.shape[-1])
    flat = labels.reshape(-1)
    size = max(1, LOGITS // weight.shape[0]) if tokens is None else tokens
    size = min(size, max(1, flat.size))
    rest = -flat.size % size
    x = jnp.pad(x, ((0, rest), (0, 0))).reshape(-1, size, x.shape[-1])
    flat = jnp.pad(flat, (0, rest), constant_values=-1).reshape(-1, size)
    found = jax.lax.map(some, (x, flat)).reshape(-1)
    return found[: labels.size].reshape(labels.shape)
