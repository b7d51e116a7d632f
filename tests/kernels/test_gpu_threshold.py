"""Thresholds by the kernels for Hopper GPUs, interpreted, against the reference.

As in `test_gpu_interpreted`, of half precision on both sides.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import softmax_jax as sj
from softmax_jax.attention.kernels.mosaic_gpu import call
from softmax_jax.attention.kernels.mosaic_gpu.forms import GpuTile
from softmax_jax.attention.kernels.mosaic_gpu.problem import Blocks, Places, Problem
from softmax_jax.attention.kernels.mosaic_gpu.ranges import Sight
from softmax_jax.attention.kernels.mosaic_gpu.support import lists_of
from softmax_jax.normalizers.base import Threshold
from tests.kernels.calls import assert_close
from tests.kernels.test_gpu_interpreted import (
    FEATURES,
    both,
    by_kernels,
    needs_interpreter,
    slow,
)


@needs_interpreter
def test_one_tile():
    got, expected = both("entmax15", heads=1, is_causal=True)
    assert_close(got, expected, 3e-3)


class Cubed(sj.Threshold):
    """A user's own: all they write."""

    def weight(self, u):
        r = jnp.maximum(u, 0)
        return r * r * r

    def inverse(self, p):
        return p ** (1 / 3)


@needs_interpreter
@slow
@pytest.mark.parametrize("name", ["sparsemax", "entmax(alpha=1.25)", "own"])
def test_rows(name):
    normalizer = Cubed() if name == "own" else name
    assert_close(*both(normalizer, is_causal=True, t=130, s=140), 4e-3)


@needs_interpreter
@slow
def test_alpha_above_2():
    """Slopes have poles at the threshold, next to which two roundings of a score give
    what they like: only what has none is compared."""
    got, expected = both("entmax(alpha=2.6)", is_causal=True)
    got, expected = (x._replace(q=x.o, k=x.o, parameters=[]) for x in (got, expected))
    assert_close(got, expected, 1e-2)


# Few of the keys of sharp rows are in the support.
OPTIONS = FEATURES | {"sharp": dict(query_scale="log_length(scale=1.0)")}


@needs_interpreter
@slow
@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_features(options):
    assert_close(*both("entmax15", **options), 4e-3)


@needs_interpreter
@slow
def test_bfloat16():
    got, expected = both("entmax15", dtype=jnp.bfloat16, is_causal=True)
    assert got.o.dtype == got.q.dtype == jnp.bfloat16
    assert_close(got, expected, 2e-2)


@needs_interpreter
@slow
def test_blocks_outside_the_support_are_not_read():
    """NaN among values that weigh nothing reaches neither outputs nor gradients."""
    rng = np.random.default_rng(0)
    q, k, v = (np.asarray(rng.normal(size=(1, 256, 1, 64)), np.float16) for _ in "qkv")
    # The first queries look at the first keys, the others at all.
    q[:, :128, :, 0], k[:, :, :, 0] = 8, np.where(np.arange(256) < 128, 8, -8)[:, None]
    q[:, 128:, :, 0] = 0
    v[:, 128:] = np.nan
    operands = [jnp.asarray(x) for x in (q, k, v)]

    @jax.jit
    def run(*operands):
        o, pull = jax.vjp(lambda *x: by_kernels(*x, normalizer="entmax15"), *operands)
        return o, pull(jnp.zeros_like(o).at[:, :128].set(1))

    o, (dq, _, _) = run(*operands)
    assert np.isfinite(o[:, :128]).all() and np.isfinite(dq[:, :128]).all()
    assert np.isnan(o[:, 128:]).any()


@needs_interpreter
@slow
def test_what_is_read_was_written_and_is_not_written_yet(monkeypatch):
    """More blocks than there is memory for, watched by the interpreter."""
    watched = functools.partial(call.NEWER.InterpretGPUParams, detect_races=True)
    monkeypatch.setattr(call.NEWER, "InterpretGPUParams", watched)
    wide = dict(heads=1, width=256, value_width=256)
    assert_close(*both("entmax15", s=384, **wide), 4e-3)


def test_lists_are_of_blocks_with_something_to_see_and_to_weigh():
    rng = np.random.default_rng(0)
    t, s, blocks = 256, 512, Blocks(forward=128, dq=64, dkv=64)
    tile = GpuTile(None, 0, Threshold, exact=False)
    sight = Sight(causal=True, window=(150, 0), offset=100, lengths=(t, s))
    problem = Problem(tile, sight, blocks, wide=False, light=True, heavy=False)
    touched = jnp.asarray(rng.random((1, 2, t // 64, s // 128)) < 0.6)
    lists = lists_of(problem, Places(), touched)
    ahead = np.arange(s)[None] - np.arange(t)[:, None] - 100
    visible = (ahead <= 0) & (ahead >= -150)
    wide = np.repeat(np.repeat(np.asarray(touched), 64, axis=2), 128, axis=3)
    for ranges, order, rows, columns, turned in (
        (lists.query_range, lists.query_list, 128, 64, False),
        (lists.key_range, lists.key_list, 128, 64, True),
    ):
        seen, above = (visible.T, wide.swapaxes(2, 3)) if turned else (visible, wide)
        tiles = seen.reshape(seen.shape[0] // rows, rows, -1, columns)
        kinds = tiles.any((1, 3)).astype(int) + tiles.all((1, 3))
        shape = 2, seen.shape[0] // rows, rows, -1, columns
        weighed = above[0].reshape(shape).any((2, 4))
        for head, i in np.ndindex(2, kinds.shape[0]):
            _, whole, rest, end = np.asarray(ranges)[0, head, i]
            assert rest == end
            found = np.asarray(order)[0, head, i]
            hit = weighed[head, i]
            assert set(found[:whole]) == set(np.flatnonzero(hit & (kinds[i] == 1)))
            assert set(found[whole:end]) == set(np.flatnonzero(hit & (kinds[i] == 2)))
