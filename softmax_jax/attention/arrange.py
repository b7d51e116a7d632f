"""From the caller's arguments to `Operands`: every check of attention is here."""

from typing import TypeVar

import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from softmax_jax.attention.masks import Mask, Window
from softmax_jax.attention.operands import Operands
from softmax_jax.attention.partition import Partition, positions
from softmax_jax.errors import UserError
from softmax_jax.normalizers.base import Normalizer, compute_dtype
from softmax_jax.normalizers.parameters import Parametrised
from softmax_jax.query_scales.base import QueryScale

Lifted = TypeVar("Lifted", bound=Parametrised | None)


def check_operands(query: Array, key: Array, value: Array) -> None:
    """Refuses shapes and dtypes that do not belong together."""
    shapes = f"query {query.shape}, key {key.shape}, value {value.shape}"
    if not query.ndim == key.ndim == value.ndim == 4:
        raise UserError(f"query, key and value must all be [B, T, H, D], got {shapes}")
    if not query.shape[0] == key.shape[0] == value.shape[0]:
        raise UserError(f"query, key and value must share the batch, got {shapes}")
    if key.shape[1:3] != value.shape[1:3]:
        raise UserError(f"key and value must share length and heads, got {shapes}")
    if query.shape[3] != key.shape[3]:
        raise UserError(f"query and key must share the last axis, got {shapes}")
    if query.shape[2] % key.shape[2]:
        raise UserError(
            f"query heads must be a multiple of key heads, got {query.shape[2]} and "
            f"{key.shape[2]} (the layout is [B, T, H, D])"
        )
    dtypes = {x.dtype for x in (query, key, value)}
    if len(dtypes) > 1 or not jnp.issubdtype(query.dtype, jnp.floating):
        raise UserError(
            "query, key and value must share one floating dtype, got "
            f"{query.dtype}, {key.dtype} and {value.dtype}"
        )


def arrange(
    query: Array,
    key: Array,
    value: Array,
    bias: ArrayLike | None,
    mask: ArrayLike | None,
    normalizer: Normalizer,
    query_scale: QueryScale | None,
    *,
    is_causal: bool,
    query_seq_lengths: ArrayLike | None,
    key_value_seq_lengths: ArrayLike | None,
    local_window_size: int | tuple[int, int] | None,
    segment_ids: ArrayLike | tuple[ArrayLike, ArrayLike] | None,
    query_offset: ArrayLike | None,
    partition: Partition | None = None,
) -> tuple[Operands, int | None]:
    """The operands of the call, and the query offset where it is one static number."""
    b, t, heads, _ = query.shape
    s, kv = key.shape[1:3]
    scores = (b, heads, t, s)
    mask = _pairwise("mask", mask, scores, kv)
    if mask is not None and mask.dtype != jnp.bool_:
        raise UserError(f"mask must be boolean, got {mask.dtype}; a bias adds numbers")
    q_length = _lengths("query_seq_lengths", query_seq_lengths, b)
    k_length = _lengths("key_value_seq_lengths", key_value_seq_lengths, b)
    offset = _offset(query_offset, q_length, k_length, b, t, s)
    q_segment, k_segment = _segments(segment_ids, b, t, s)
    rows = positions(t, partition).reshape(1, 1, 1, t, 1)
    keys = positions(s, partition).reshape(1, 1, 1, 1, s)
    first = offset if isinstance(offset, int) else _per_example(offset)
    described = Mask(
        boolean=mask,
        query_position=rows + first,
        key_position=keys,
        query_alive=None if q_length is None else rows < _per_example(q_length),
        key_alive=None if k_length is None else keys < _per_example(k_length),
        query_segment=None if q_segment is None else q_segment[:, None, None, :, None],
        key_segment=None if k_segment is None else k_segment[:, None, None, None, :],
        causal=is_causal,
        window=_window(local_window_size),
    )
    operands = Operands(
        query=_grouped(jnp.moveaxis(query, 1, 2), kv),
        key=jnp.moveaxis(key, 1, 3)[:, :, None],
        value=jnp.moveaxis(value, 1, 3)[:, :, None],
        bias=_pairwise("bias", bias, scores, kv),
        mask=described,
        normalizer=_lifted(normalizer, query, kv),
        query_scale=_lifted(query_scale, query, kv),
    )
    return operands, offset if isinstance(offset, int) else None


def _grouped(array: Array, kv_heads: int) -> Array:
    """[B, H, ...] to [B, K, G, ...], size 1 staying 1."""
    b, heads, *rest = array.shape
    groups = (1, 1) if heads == 1 else (kv_heads, heads // kv_heads)
    return array.reshape(b, *groups, *rest)


def _pairwise(
    name: str, array: ArrayLike | None, scores: tuple[int, ...], kv_heads: int
) -> Array | None:
    """A mask or bias over pairs as [B, K, G, T, S]."""
    if array is None:
        return None
    array = jnp.asarray(array)
    if array.ndim not in (2, 4) or any(
        size not in (1, full)
        for size, full in zip(array.shape[::-1], scores[::-1], strict=False)
    ):
        raise UserError(
            f"{name} must be [B, H, T, S] or [T, S] with sizes 1 or {scores}, got "
            f"{array.shape}"
        )
    return _grouped(array.reshape((1,) * (4 - array.ndim) + array.shape), kv_heads)


def _lifted(owner: Lifted, query: Array, kv_heads: int) -> Lifted:
    """`owner` with leaves [B, K, G, T, 1] in the dtype of the scores."""
    b, t, h, _ = query.shape

    def lift(leaf: ArrayLike) -> Array:
        leaf = jnp.asarray(leaf, compute_dtype(query.dtype))
        shape = (1,) * (3 - leaf.ndim) + leaf.shape
        if len(shape) > 3 or any(
            size not in (1, full) for size, full in zip(shape, (b, t, h), strict=True)
        ):
            raise UserError(
                f"a parameter of {type(owner).__name__} has shape {leaf.shape}, "
                f"which does not broadcast against [B, T, H] = {(b, t, h)}"
            )
        return _grouped(jnp.moveaxis(leaf.reshape(shape), 2, 1), kv_heads)[..., None]

    return jax.tree.map(lift, owner)


def _lengths(name: str, lengths: ArrayLike | None, batch: int) -> Array | None:
    if lengths is None:
        return None
    lengths = jnp.asarray(lengths)
    if lengths.shape != (batch,) or not jnp.issubdtype(lengths.dtype, jnp.integer):
        raise UserError(
            f"{name} must hold one integer per example, shape ({batch},), got "
            f"{lengths.dtype}{lengths.shape}"
        )
    return lengths.astype(jnp.int32)


def _offset(
    query_offset: ArrayLike | None,
    q_length: Array | None,
    k_length: Array | None,
    b: int,
    t: int,
    s: int,
) -> int | Array:
    """Where the first query stands among the keys: an int if known when traced."""
    if query_offset is None:
        if q_length is None and k_length is None:
            return s - t
        last_key = s if k_length is None else k_length
        return last_key - (t if q_length is None else q_length)
    if isinstance(query_offset, int):
        return query_offset
    query_offset = jnp.asarray(query_offset)
    if query_offset.shape not in ((), (b,)):
        raise UserError(
            f"query_offset must be one integer or one per example, shape ({b},), got "
            f"shape {query_offset.shape}"
        )
    return jnp.broadcast_to(query_offset.astype(jnp.int32), (b,))


def _segments(
    segment_ids: ArrayLike | tuple[ArrayLike, ArrayLike] | None, b: int, t: int, s: int
) -> tuple[Array | None, Array | None]:
    if segment_ids is None:
        return None, None
    pair = segment_ids if isinstance(segment_ids, tuple) else (segment_ids, segment_ids)
    of_queries, of_keys = (jnp.asarray(ids) for ids in pair)
    if of_queries.shape != (b, t) or of_keys.shape != (b, s):
        raise UserError(
            f"segment_ids must be {(b, t)} for queries and {(b, s)} for keys, got "
            f"{of_queries.shape} and {of_keys.shape}"
        )
    return of_queries, of_keys


def _window(size: int | tuple[int, int] | None) -> Window:
    if size is None:
        return None
    left, right = (size, size) if isinstance(size, int) else size
    if left < 0 or right < 0:
        raise UserError(f"local_window_size must not be negative, got {size}")
    return left, right


def _per_example(values: Array) -> Array:
    """[B] as [B, 1, 1, 1, 1]."""
    return values[:, None, None, None, None]
