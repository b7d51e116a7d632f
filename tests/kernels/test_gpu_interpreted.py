"""The kernels for Hopper GPUs, interpreted on a CPU, equal the reference.

Half precision is all that their tensor cores take, so that what is compared is a
reference in float32, from the same rounded operands.
"""

import functools
import itertools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import softmax_jax as sj
from softmax_jax.attention.arrange import arrange
from softmax_jax.attention.kernels.mosaic_gpu import attend
from softmax_jax.attention.kernels.mosaic_gpu.call import LAYOUT
from softmax_jax.attention.kernels.mosaic_gpu.instructions import places_apart
from softmax_jax.attention.kernels.mosaic_gpu.ranges import Sight, ranges_of
from softmax_jax.attention.kernels.prepare import is_bounded
from softmax_jax.attention.kernels.twins import constants
from softmax_jax.catalogue import parse_query_scale
from tests.kernels.calls import (
    NOTHING,
    Result,
    assert_close,
    by_reference,
    differentiated,
)

VERSION = tuple(int(x) for x in jax.__version__.split(".")[:2])
needs_interpreter = pytest.mark.skipif(
    VERSION < attend.OLDEST_JAX,
    reason=f"Hopper kernels need jax 0.11 or newer, this is {jax.__version__}",
)
slow = pytest.mark.slow


class LogQuadratic(sj.Ratio):
    """A user's own: all they write."""

    curvature: float = sj.parameter(1.0)

    def log_weight(self, z):
        return jnp.log1p(self.curvature * z * z)


def by_kernels(
    q, k, v, bias=None, mask=None, *, normalizer, query_scale=None, known=(), **options
) -> jax.Array:
    """`sj.dot_product_attention`, by the kernels."""
    cap = options.pop("logits_soft_cap", None)
    if query_scale is not None:
        query_scale = parse_query_scale(query_scale)
    options = NOTHING | {"is_causal": False} | options
    normalizer = sj.parse(normalizer)
    operands, offset = arrange(q, k, v, bias, mask, normalizer, query_scale, **options)
    sure = dict(known=known, bounded=is_bounded(normalizer, query_scale, cap, bias))
    scale = q.shape[-1] ** -0.5
    o = attend.mosaic_gpu(operands, scale, cap, offset=offset, **sure, interpreted=True)
    return jnp.moveaxis(o.reshape(o.shape[0], -1, *o.shape[3:]), 1, 2)


def both(
    normalizer: str | sj.Normalizer,
    *,
    t: int = 128,
    s: int = 128,
    heads: int = 2,
    kv_heads: int = 1,
    width: int = 64,
    value_width: int = 64,
    batch: int = 1,
    bias: tuple[int, ...] | None = None,
    mask: tuple[int, ...] | None = None,
    dtype: Any = jnp.float16,
    as_given: bool = False,
    **options: Any,
) -> tuple[Result, Result]:
    """Of the kernels and of the reference; parameters differ from head to head, or are
    those of the catalogue, which the kernels then know.
    """
    rng = np.random.default_rng(0)

    def draw(*shape):
        return jnp.asarray(rng.normal(size=shape), dtype)

    operands: list[Any] = [
        draw(batch, t, heads, width),
        draw(batch, s, kv_heads, width),
        draw(batch, s, kv_heads, value_width),
        None if bias is None else draw(*bias).astype(jnp.float32),
        draw(batch, t, heads, value_width),
    ]
    seen = None if mask is None else jnp.asarray(rng.random(mask) < 0.6)
    spread = jnp.ones(heads) if as_given else jnp.linspace(0.8, 1.2, heads)
    plain = sj.parse(normalizer)
    away = 0.0 if as_given else 0.1
    known = jax.tree.map(lambda x: jnp.float32(x + away) * spread, plain)
    sure = constants(plain) if as_given else ()
    kernels = functools.partial(by_kernels, known=sure)
    got = differentiated(kernels, operands, known, seen, options)
    jax.block_until_ready(got)
    exact = [None if x is None else x.astype(jnp.float32) for x in operands]
    return got, differentiated(by_reference, exact, known, seen, options)


@needs_interpreter
@pytest.mark.parametrize("name", ["softmax1", "sigmoid"])
def test_one_tile(name):
    got, expected = both(name, heads=1, is_causal=True)
    assert got.o.dtype == jnp.float16
    assert_close(got, expected, 3e-3)


@needs_interpreter
@slow
@pytest.mark.parametrize(
    "name",
    [
        "ssmax",
        "sigsoftmax",
        "softpick",
        "logistic_softmax",
        "multimax",
        "relu",
        "relu_power(power=3)",
        "own",
    ],
)
def test_rows(name):
    normalizer = LogQuadratic() if name == "own" else name
    # The slopes of these jump where a score is 0, which rounding may pass.
    tolerance = 5e-2 if name in ("softpick", "relu") else 4e-3
    assert_close(*both(normalizer, is_causal=True, t=130, s=140), tolerance)


@needs_interpreter
@slow
@pytest.mark.parametrize("name", ["sigsoftmax", "relu_power"])
def test_what_is_known_of_parameters(name):
    """What is not learned has no gradient that anyone asks for."""
    got, expected = both(name, is_causal=True, as_given=True)
    none = dict(parameters=[])
    assert_close(got._replace(**none), expected._replace(**none), 4e-3)


FEATURES = {
    "full": dict(t=130, s=140),
    "window": dict(t=130, s=300, local_window_size=(30, 20)),
    "offset": dict(is_causal=True, query_offset=-20),
    "lengths": dict(
        batch=2,
        is_causal=True,
        query_seq_lengths=jnp.array([100, 120], jnp.int32),
        key_value_seq_lengths=jnp.array([120, 128], jnp.int32),
    ),
    "segments": dict(
        batch=2,
        is_causal=True,
        segment_ids=jnp.asarray(np.arange(256).reshape(2, 128) // 45),
    ),
    "soft_cap": dict(is_causal=True, logits_soft_cap=2.0),
    "query_scale": dict(is_causal=True, query_scale="log_length(scale=0.43)"),
    "widths": dict(width=100, value_width=40, heads=4, kv_heads=2),
    "bias": dict(
        t=130, s=140, is_causal=True, bias=(1, 2, 130, 140), logits_soft_cap=2.0
    ),
    "bias_of_keys": dict(batch=2, heads=4, kv_heads=2, bias=(2, 1, 1, 128)),
    "mask": dict(t=130, s=140, heads=4, kv_heads=2, mask=(1, 4, 130, 140)),
    "wide": dict(width=256, value_width=256, is_causal=True),
}


@needs_interpreter
@slow
@pytest.mark.parametrize("options", FEATURES.values(), ids=FEATURES)
@pytest.mark.parametrize("name", ["softmax1", "sigmoid"])
def test_features(name, options):
    assert_close(*both(name, **options), 4e-3)


@needs_interpreter
@slow
def test_many_operations_of_wide_heads():
    """Parameters in walks of their own, and every block compares positions."""
    wide = dict(heads=1, width=256, value_width=256, s=192)
    assert_close(*both("multimax", is_causal=True, **wide), 4e-3)


@needs_interpreter
@slow
@pytest.mark.parametrize("sink", [-100.0, 100.0])
def test_a_sink_outside_the_bounds(sink):
    """Soft-capped scores have no maximum taken off, but that of a large sink."""
    normalizer = sj.Softmax1(sink=sink / 0.8 - 0.1)
    options = dict(heads=1, is_causal=True, logits_soft_cap=50.0)
    got, expected = both(normalizer, **options)
    assert_close(got, expected, 4e-3)


@needs_interpreter
@slow
def test_bias_of_queries():
    """Ratios nearly cancel it, and what is left of its gradient is rounding."""
    assert_close(*both("sigmoid", bias=(1, 1, 128, 1)), 4e-3)


@needs_interpreter
@slow
@pytest.mark.parametrize("name", ["softmax1", "sigmoid"])
def test_bfloat16(name):
    got, expected = both(name, dtype=jnp.bfloat16, is_causal=True)
    assert got.o.dtype == got.q.dtype == jnp.bfloat16
    assert_close(got, expected, 2e-2)


@needs_interpreter
def test_what_hides_keys_reaches_nothing():
    """NaN in keys beyond the length, and in queries that see nothing."""
    rng = np.random.default_rng(0)
    q, k, v = (np.asarray(rng.normal(size=(1, 128, 1, 64)), np.float16) for _ in "qkv")
    clean = [jnp.asarray(x) for x in (q, k, v)]
    for x in (k, v):
        x[:, 100:] = np.nan
    planted = [jnp.asarray(x) for x in (q, k, v)]
    lengths = dict(key_value_seq_lengths=jnp.array([100], jnp.int32))

    def attend_to(operands):
        def run(q, k, v):
            return by_kernels(q, k, v, normalizer="softmax1", **lengths)

        return jax.jit(run)(*operands)

    np.testing.assert_array_equal(attend_to(planted), attend_to(clean))


@needs_interpreter
@pytest.mark.parametrize("columns", [16, 64, 128])
def test_threads_hold_every_place_of_a_tile_once(columns):
    """What the interpreter does not run: a thread's own place is that of the manual."""
    layout, shape = LAYOUT.to_mgpu(), (64, columns)
    apart = [(row, column) for _, row, column in places_apart(layout, shape)]
    held = np.zeros(shape, int)
    for warp, lane, (row, column), i in itertools.product(
        range(4), range(32), apart, range(2)
    ):
        held[16 * warp + lane // 4 + row, 2 * (lane % 4) + column + i] += 1
    assert (held == 1).all()


@pytest.mark.parametrize("window", [None, (70, 10), (3, 200)])
@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("offset", [0, 37, -90])
def test_ranges_are_the_blocks_with_something_visible(offset, causal, window):
    t, s, rows, block = 256, 300, 128, 64
    sight = Sight(causal, window, offset, (t, s))
    padded = -(-s // block) * block
    ahead = np.arange(padded)[None] - np.arange(t)[:, None] - offset
    visible = np.broadcast_to(np.arange(padded) < s, ahead.shape).copy()
    if causal:
        visible &= ahead <= 0
    if window is not None:
        visible &= (ahead >= -window[0]) & (ahead <= window[1])
    tiles = visible.reshape(t // rows, rows, -1, block)
    kinds = tiles.any((1, 3)).astype(int) + tiles.all((1, 3))
    traced = np.asarray(ranges_of(jnp.asarray(kinds)[None]))[0]
    for i in range(t // rows):
        found = [int(x) for x in sight.keys(i * rows, rows, block)]
        begin, whole, rest, end = found
        some = np.flatnonzero(kinds[i])
        if some.size:
            assert (begin, end) == (some[0], some[-1] + 1)
            assert set(range(whole, rest)) == set(np.flatnonzero(kinds[i] == 2))
        assert 0 <= begin <= whole <= rest <= end
        begin, whole, rest, end = traced[i]
        assert (kinds[i, whole:rest] == 2).all()
        assert not kinds[i, :begin].any() and not kinds[i, end:].any()


def test_an_older_jax_says_what_is_needed(monkeypatch):
    monkeypatch.setattr(jax, "__version__", "0.10.2")
    q = jnp.zeros((1, 8, 1, 8), jnp.bfloat16)
    with pytest.raises(NotImplementedError, match="needs jax 0.11 or newer"):
        by_kernels(q, q, q, normalizer="softmax")


@pytest.mark.parametrize(
    ("normalizer", "options", "sentence"),
    [
        ("r_softmax", {}, "has no RSoftmax: what it selects depends on the order"),
        ("softmax", dict(dtype=jnp.float32), "in bfloat16 and float16, got float32"),
        ("softmax", dict(width=512), "width up to 256"),
    ],
)
def test_what_the_kernels_cannot_do_they_say(
    monkeypatch, normalizer, options, sentence
):
    monkeypatch.setattr(jax, "__version__", "0.12.0")
    shape = 1, 8, 1, options.pop("width", 8)
    q = jnp.zeros(shape, options.pop("dtype", jnp.bfloat16))
    call = functools.partial(by_kernels, q, q, q, normalizer=normalizer)
    with pytest.raises(NotImplementedError, match=sentence):
        call(**options)
