"""`dot_product_attention` with any normalizer: validate, choose, compute."""

import functools
import logging
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike
from jaxtyping import Float, Int, Shaped

from softmax_jax.attention.arrange import arrange, check_operands
from softmax_jax.attention.kernels.prepare import is_bounded
from softmax_jax.attention.kernels.twins import constants
from softmax_jax.attention.operands import Operands
from softmax_jax.attention.partition import Partition
from softmax_jax.attention.per_device import check_whole, per_device
from softmax_jax.attention.plan import Plan, Results
from softmax_jax.catalogue import parse, parse_query_scale
from softmax_jax.errors import UserError
from softmax_jax.normalizers.base import Normalizer
from softmax_jax.query_scales.base import QueryScale
from softmax_jax.target import platform

log = logging.getLogger(__name__)

IMPLEMENTATIONS = ("reference", "chunked", "mosaic_gpu", "cudnn", "mosaic_tpu")
# Scores of one head from which `chunked` is the default: on a CPU those that its cache
# does not hold for all heads at once, elsewhere those that take much memory.
LARGE_ON_CPU = 1 << 16
LARGE = 1 << 20


def dot_product_attention(
    query: Float[Array, "*b t h d"],
    key: Float[Array, "*b s k d"],
    value: Float[Array, "*b s k v"],
    bias: Shaped[ArrayLike, "..."] | None = None,
    mask: Shaped[ArrayLike, "..."] | None = None,
    *,
    normalizer: str | Normalizer = "softmax",
    scale: ArrayLike | None = None,
    is_causal: bool = False,
    query_seq_lengths: Int[ArrayLike, "#b"] | None = None,
    key_value_seq_lengths: Int[ArrayLike, "#b"] | None = None,
    local_window_size: int | tuple[int, int] | None = None,
    segment_ids: ArrayLike | tuple[ArrayLike, ArrayLike] | None = None,
    query_offset: ArrayLike | None = None,
    logits_soft_cap: float | None = None,
    query_scale: str | QueryScale | None = None,
    implementation: str | Sequence[str] | None = None,
    return_weights: bool = False,
    return_stats: bool = False,
    partition: Partition | None = None,
) -> Any:
    """o = N(c * (softcap(scale * q.k) + bias)) v for any normalizer N.

    The names and layout of `jax.nn.dot_product_attention`, plus what it lacks.

    Args:
      query: [B, T, H, D] or [T, H, D]. H is a multiple of the key heads K.
      key: [B, S, K, D]; never repeated for grouped heads.
      value: [B, S, K, V]; V may differ from D.
      bias: added to the scaled and capped scores, [B, H, T, S] or [T, S] with axes of
        size 1 where it does not vary. -inf masks, and is not counted in n.
      mask: booleans of the same shape, True where a query may see a key.
      normalizer: a spec string ("entmax(alpha=1.25)") or a `Normalizer`, whose
        parameters broadcast against [B, T, H].
      scale: multiplies q.k; the default is 1 / sqrt(D).
      is_causal: a query sees no key after its own position.
      query_seq_lengths, key_value_seq_lengths: [B], what lies beyond is padding.
      local_window_size: (left, right), or one number for both: how far a query sees.
      segment_ids: [B, T], or a pair for queries and keys; a query sees its own segment.
      query_offset: the position of the first query among the keys, an int or [B]. The
        default puts the last query at the last key (of each example, where lengths are
        given). `jax.nn` puts the first query at the first key; pass 0 for that.
      logits_soft_cap: a in a * tanh(scale * q.k / a).
      query_scale: c, which multiplies the scores of a query given what it sees: a spec
        string ("log_length(scale=0.43)") or a `QueryScale`, with parameters as above.
      implementation: "reference", "chunked", "mosaic_tpu" or "mosaic_gpu", the kernels
        for TPUs and for Hopper GPUs, or "cudnn"; a sequence takes the first that can
        serve. None takes the kernels on a TPU where they can, and chooses by size
        elsewhere. The choice is logged at level DEBUG.
      return_weights: also returns the weights [B, H, T, S]; the reference alone can.
      return_stats: also returns `Statistics`, named fields of [B, H, T].
      partition: how the operands lie on the mesh in use: each device then attends with
        its own examples and heads, and its own part of the sequence where
        `Partition.sequence` splits it. What is given along T or S is in the order of
        the tokens, positions are the true ones. None leaves all to the compiler, which
        gathers what `chunked` works through one after another.

    Returns:
      [B, T, H, V] in the dtype of `query`, or a tuple of it and what else was asked
      for, weights before statistics. A query that sees nothing gets zeros. What stands
      in keys and values that nothing sees cannot reach output or gradients.

    Raises:
      NotImplementedError: the implementation asked for cannot do what was asked.
      UserError: an argument does not fit; the sentence names it.
    """
    normalizer = parse(normalizer)
    if query_scale is not None:
        query_scale = parse_query_scale(query_scale)
    batched = query.ndim == 4
    if not batched:
        query, key, value = (jnp.asarray(x)[None] for x in (query, key, value))
    check_operands(query, key, value)
    operands, offset = arrange(
        query,
        key,
        value,
        bias,
        mask,
        normalizer,
        query_scale,
        is_causal=is_causal,
        query_seq_lengths=query_seq_lengths,
        key_value_seq_lengths=key_value_seq_lengths,
        local_window_size=local_window_size,
        segment_ids=segment_ids,
        query_offset=query_offset,
        partition=partition,
    )
    scores = query.shape[1] * key.shape[1]
    large = scores >= (LARGE_ON_CPU if platform() == "cpu" else LARGE)
    scale = query.shape[-1] ** -0.5 if scale is None else scale

    def attend(implementation: str) -> Results:
        plan = Plan(
            implementation,
            offset,
            return_weights,
            return_stats,
            known=constants(normalizer),
            bounded=is_bounded(normalizer, query_scale, logits_soft_cap, bias),
        )
        if partition is None:
            check_whole(implementation)
        return _attend(operands, scale, logits_soft_cap, plan=plan, partition=partition)

    output, weights, stats = _first(_candidates(implementation, large), attend)
    output, weights, stats = jax.tree.map(_merge_heads, (output, weights, stats))
    output = jnp.moveaxis(output, 1, 2)
    if not batched:
        output, weights, stats = jax.tree.map(lambda x: x[0], (output, weights, stats))
    extras = [extra for extra in (weights, stats) if extra is not None]
    return (output, *extras) if extras else output


@functools.partial(jax.jit, static_argnames=("plan", "partition"))
def _attend(operands: Operands, scale, soft_cap, *, plan, partition) -> Results:
    """[B, K, G, T, ...]: outputs, weights or None, statistics or None."""
    if partition is None:
        return plan.attend(operands, scale, soft_cap)
    return per_device(plan, operands, scale, soft_cap, partition)


def _merge_heads(array: Array) -> Array:
    """[B, K, G, ...] as [B, H, ...]."""
    return array.reshape(array.shape[0], -1, *array.shape[3:])


def _candidates(wanted: str | Sequence[str] | None, large: bool) -> tuple[str, ...]:
    """The implementations to try, in their order."""
    if wanted is None:
        on_tpu = ("mosaic_tpu",) if platform() == "tpu" else ()
        return (*on_tpu, "chunked", "reference") if large else (*on_tpu, "reference")
    names = (wanted,) if isinstance(wanted, str) else tuple(wanted)
    for name in names:
        if name not in IMPLEMENTATIONS:
            raise UserError(
                f"implementation must be among {', '.join(IMPLEMENTATIONS)}, "
                f"got {name!r}"
            )
    return names


def _first(names: Sequence[str], attend: Callable[[str], Results]) -> Results:
    """What the first implementation that can serve gives."""
    reasons = []
    for name in names:
        try:
            found = attend(name)
        except NotImplementedError as reason:
            reasons.append(str(reason))
            continue
        log.debug("implementation %s; passed over: %s", name, reasons or "none")
        return found
    raise NotImplementedError("; ".join(reasons) or "no implementation was named")
