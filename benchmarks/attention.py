"""`chunked` attention against `jax.nn.dot_product_attention`, which holds T x T scores.

Every normalizer of the catalogue runs against the softmax of `jax.nn`.
"""

import functools
from collections.abc import Iterator, Sequence

import jax
import jax.numpy as jnp
from rich.table import Table

import softmax_jax as sj
from benchmarks.report import compare
from benchmarks.timing import Contestant, compiled, forward_and_backward


def tables(
    lengths: Sequence[int] = (1024, 4096),
    names: Sequence[str] = tuple(sj.CATALOGUE),
    heads: int = 8,
    width: int = 64,
    rounds: int = 3,
) -> Iterator[Table]:
    """One table per race: softmax full and causal, then every row of the catalogue."""
    size = f"{heads} heads x {width}, batch 1, float32"
    for length in lengths:
        operands = draw(length, heads, width)
        for causal in (False, True):
            pair = contestants(operands, ("softmax",), causal)
            kind = "causal" if causal else "full"
            yield compare(f"Softmax, {kind}, T = {length}, {size}", pair, 2 * rounds)
        rows = contestants(operands, names, causal=False)
        yield compare(f"The catalogue, full, T = {length}, {size}", rows, rounds)


def draw(length: int, heads: int, width: int) -> list[jax.Array]:
    """Query, key, value and the cotangent of the output."""
    keys = jax.random.split(jax.random.key(0), 4)
    shape = (1, length, heads, width)
    return [jax.random.normal(key, shape, jnp.float32) for key in keys]


def contestants(
    operands: Sequence[jax.Array], names: Sequence[str], causal: bool
) -> list[Contestant]:
    """`jax.nn` and then `chunked` with each normalizer."""
    theirs = functools.partial(jax.nn.dot_product_attention, is_causal=causal)
    peer = compiled("jax.nn", forward_and_backward(theirs), *operands, is_peer=True)
    ours = functools.partial(
        sj.dot_product_attention, is_causal=causal, implementation="chunked"
    )
    return [peer] + [
        compiled(
            f"chunked {name}",
            forward_and_backward(functools.partial(ours, normalizer=name)),
            *operands,
        )
        for name in names
    ]
