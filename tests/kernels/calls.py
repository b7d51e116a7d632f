"""One call of attention by the kernels for TPUs, and by the reference, with gradients.

The kernels run in the interpreter of TPU programs, whose memory begins as NaN.
"""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental.pallas import tpu as pltpu

import softmax_jax as sj
from softmax_jax.attention.arrange import arrange
from softmax_jax.attention.kernels.mosaic_tpu.attend import mosaic_tpu
from softmax_jax.attention.kernels.prepare import is_bounded
from softmax_jax.catalogue import parse_query_scale

NOTHING = dict.fromkeys(
    (
        "query_seq_lengths",
        "key_value_seq_lengths",
        "local_window_size",
        "segment_ids",
        "query_offset",
    )
)


def by_kernels(
    q,
    k,
    v,
    bias=None,
    mask=None,
    *,
    normalizer,
    scale=None,
    query_scale=None,
    **options,
) -> jax.Array:
    """`sj.dot_product_attention`, by the kernels."""
    cap = options.pop("logits_soft_cap", None)
    known = options.pop("known", ())
    generation = options.pop("generation", "v5e")
    if query_scale is not None:
        query_scale = parse_query_scale(query_scale)
    options = NOTHING | {"is_causal": False} | options
    normalizer = sj.parse(normalizer)
    operands, offset = arrange(q, k, v, bias, mask, normalizer, query_scale, **options)
    scale = q.shape[-1] ** -0.5 if scale is None else scale
    o = mosaic_tpu(
        operands,
        scale,
        cap,
        offset=offset,
        known=known,
        bounded=is_bounded(normalizer, query_scale, cap, bias),
        blocks=(128, 128),
        generation=generation,
    )
    return jnp.moveaxis(o.reshape(o.shape[0], -1, *o.shape[3:]), 1, 2)


def by_reference(*args, known=(), generation=None, **options) -> jax.Array:
    return sj.dot_product_attention(*args, implementation="reference", **options)


class Result(NamedTuple):
    o: jax.Array
    q: jax.Array
    k: jax.Array
    v: jax.Array
    bias: jax.Array | None
    parameters: list[jax.Array]


def differentiated(attend, operands: list[Any], normalizer, mask, options) -> Result:
    """The output, and gradients to q, k, v, bias and every parameter."""
    leaves, tree = jax.tree.flatten(normalizer)

    @jax.jit
    def run(q, k, v, bias, leaves, do):
        def f(q, k, v, bias, leaves):
            known = tree.unflatten(leaves)
            return attend(q, k, v, bias, mask, normalizer=known, **options)

        o, pull = jax.vjp(f, q, k, v, bias, leaves)
        return Result(o, *pull(do))

    *arrays, do = operands
    return run(*arrays, leaves, do)


def both(
    normalizer: str | sj.Normalizer,
    *,
    t: int = 130,
    s: int = 140,
    heads: int = 2,
    kv_heads: int = 1,
    width: int = 64,
    value_width: int = 64,
    batch: int = 1,
    bias: tuple[int, ...] | None = None,
    mask: tuple[int, ...] | None = None,
    dtype: Any = jnp.float32,
    detect_races: bool = False,
    **options: Any,
) -> tuple[Result, Result]:
    """Of the kernels and of the reference; parameters differ from head to head."""
    rng = np.random.default_rng(0)
    draw = functools.partial(_draw, rng, dtype)
    operands: list[Any] = [
        draw(batch, t, heads, width),
        draw(batch, s, kv_heads, width),
        draw(batch, s, kv_heads, value_width),
        None if bias is None else draw(*bias),
        draw(batch, t, heads, value_width),
    ]
    mask_array = None if mask is None else jnp.asarray(rng.random(mask) < 0.6)
    spread = jnp.linspace(0.8, 1.2, heads)
    known = sj.parse(normalizer)
    known = jax.tree.map(lambda x: jnp.float32(x + 0.1) * spread, known)
    interpreter = pltpu.InterpretParams(
        uninitialized_memory="nan", detect_races=detect_races
    )
    with pltpu.force_tpu_interpret_mode(interpreter):
        got = differentiated(by_kernels, operands, known, mask_array, options)
        jax.block_until_ready(got)
    return got, differentiated(by_reference, operands, known, mask_array, options)


def _draw(rng: np.random.Generator, dtype: Any, *shape: int) -> jax.Array:
    return jnp.asarray(1.5 * rng.normal(size=shape), dtype)


def assert_close(got: Result, expected: Result, tolerance: float) -> None:
    """Every array, relative to the largest number in it."""
    for name, a, b in zip(Result._fields, got, expected, strict=True):
        for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
            x, y = (np.asarray(array, np.float32) for array in (x, y))
            error = np.abs(x - y).max() / (np.abs(y).max() + 1e-6)
            assert error <= tolerance, f"{name}: {error:.1e}"
