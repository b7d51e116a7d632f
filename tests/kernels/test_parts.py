"""The list of tiles, and the short forms, against what they stand for."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import softmax_jax as sj
from softmax_jax.attention.kernels.kinds import axis_of, kinds_of
from softmax_jax.attention.kernels.lean import lean
from softmax_jax.attention.kernels.mosaic_tpu.visits import (
    FIRST,
    LAST,
    MASKED,
    WORK,
    column_of,
    row_of,
    visits,
)
from softmax_jax.attention.kernels.tiles import linear, reads_scores
from softmax_jax.attention.kernels.twins import LOG2_E, SHORT_TWINS

BLOCK = 4


def kinds(xp, *, causal, window, segment=None):
    """Of 16 queries and 24 keys, in blocks of 4."""
    q, k = xp.arange(16)[None] + 8, xp.arange(24)[None]
    ids = (None, None) if segment is None else (segment[:, 8:], segment)
    return kinds_of(
        axis_of(q, None, ids[0], BLOCK),
        axis_of(k, None, ids[1], BLOCK),
        causal,
        window,
        masked=False,
    )


@pytest.mark.parametrize("by_column", [False, True])
@pytest.mark.parametrize(
    ("causal", "window"), [(True, None), (False, (3, 2)), (True, (5, 0))]
)
def test_visits_are_the_tiles_with_something_visible(causal, window, by_column):
    ahead = np.arange(24)[None] - (np.arange(16)[:, None] + 8)
    visible = np.full(ahead.shape, True)
    if causal:
        visible &= ahead <= 0
    if window is not None:
        visible &= (ahead >= -window[0]) & (ahead <= window[1])
    tiles = visible.reshape(4, 4, 6, 4).swapaxes(1, 2)
    some, every = tiles.any((2, 3)), tiles.all((2, 3))
    listed = visits(kinds(np, causal=causal, window=window), by_column=by_column)

    @jax.jit
    def traced():
        return visits(kinds(jnp, causal=causal, window=window), by_column=by_column)[:2]

    traced_words, count = traced()
    assert int(count) == listed.count
    np.testing.assert_array_equal(traced_words[:, : listed.count], listed.words)
    words = listed.words[0]
    found = [(row_of(w), column_of(w)) for w in words if w & WORK]
    assert sorted(found) == [tuple(x) for x in np.argwhere(some)]
    for word in words[words & WORK != 0]:
        assert bool(word & MASKED) == (not every[row_of(word), column_of(word)])
    major = [column_of(w) if by_column else row_of(w) for w in words]
    assert sorted(set(major)) == list(range(6 if by_column else 4))
    assert [m for m, w in zip(major, words, strict=True) if w & FIRST] == sorted(
        set(major)
    )
    assert sum(bool(w & LAST) for w in words) == len(set(major))


def test_segments_leave_out_what_no_segment_shares():
    segment = jnp.repeat(jnp.arange(3, dtype=jnp.int32), 8)[None]
    found = np.asarray(kinds(jnp, causal=False, window=None, segment=segment))[0]
    np.testing.assert_array_equal(
        found > 0, np.repeat([[1], [2]], 2, 0) == [[0, 0, 1, 1, 2, 2]]
    )


@pytest.mark.parametrize(
    "f",
    [
        jax.nn.log_sigmoid,
        jax.nn.softplus,
        jax.nn.sigmoid,
        jnp.expm1,
        lambda x: jnp.log1p(x * x),
        lambda x: jnp.logaddexp(x, 0.5),
        lambda x: jax.nn.relu(x) / (1 + x * x),
    ],
)
@pytest.mark.parametrize("exact", [True, False])
def test_lean_forms_have_the_same_values_and_slopes(f, exact):
    x = jnp.linspace(-30, 30, 401, dtype=jnp.float32)
    if f is jnp.expm1:
        x = x / 10
    expected = jax.jvp(f, (x,), (jnp.ones_like(x),))
    got = jax.jvp(lean(f, exact=exact), (x,), (jnp.ones_like(x),))
    for a, b in zip(got, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=3e-6, atol=3e-7)


def test_functions_with_a_derivative_of_their_own_are_replaced():
    """They are found by the name of what they stand for."""

    def both(u):
        f = lean(sj.Entmax15().weight, exact=True)
        return jax.jvp(f, (u,), (jnp.full_like(u, 0.5),))

    steps = jax.make_jaxpr(both)(jnp.zeros(8)).jaxpr.eqns
    names = [eqn.primitive.name for eqn in steps]
    assert names.count("max") == 1 and "sub" not in names
    assert "custom_jvp_call" not in names


@pytest.mark.parametrize("name", ["sigsoftmax(k=2.5, c=0.3)", "softpick"])
def test_twins_weigh_alike(name):
    normalizer = sj.parse(name)
    twin = SHORT_TWINS[type(normalizer)](normalizer)
    z = jnp.linspace(-20, 20, 101, dtype=jnp.float32)
    log_w = twin.log_weight(LOG2_E * z)
    m = log_w.max()
    shared = twin.share(log_w, LOG2_E * z, m)
    weight, mass = (jnp.exp2(log_w - m),) * 2 if shared is None else shared
    expected = normalizer(z)
    scale = expected.max() / weight.max()
    np.testing.assert_allclose(weight * scale, expected, rtol=1e-5, atol=1e-7)
    if shared is not None:
        np.testing.assert_allclose(weight / mass.sum(), expected, rtol=1e-5, atol=1e-7)


def test_which_rows_are_linear_and_which_read_scores():
    def lifted(name):
        return jax.tree.map(
            lambda x: jnp.full((1,) * 5, x, jnp.float32), sj.parse(name)
        )

    n = jnp.ones((1,) * 5)
    names = set(sj.CATALOGUE)
    assert {x for x in names if linear(lifted(x)) is not None} == {
        "softmax",
        "softmax1",
        "ssmax",
    }
    assert {x for x in names if reads_scores(lifted(x), n)} == {
        "sparse_softmax",
        "t_softmax",
        "r_softmax",
    }
