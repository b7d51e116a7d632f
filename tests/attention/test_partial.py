"""Rows put together from parts of their keys: the sums form a monoid."""

import functools

import jax.numpy as jnp
import numpy as np
import pytest

import softmax_jax as sj
from softmax_jax.attention.arrange import arrange
from softmax_jax.attention.partial import (
    check_parts,
    finish,
    merge,
    nothing,
    partial,
    with_counts,
)
from softmax_jax.attention.plan import Plan

pytestmark = [pytest.mark.core, pytest.mark.usefixtures("x64")]

PLAN = Plan("reference", None, return_weights=False, return_stats=True)
T, S = 4, 24
RNG = np.random.default_rng(1)
QUERY, KEY = RNG.normal(size=(T, 3)), RNG.normal(size=(S, 3))
VALUE = RNG.normal(size=(S, 2))
# The last query sees nothing, and nobody sees the first eight keys.
MASK = RNG.random((T, S)) < 0.7
MASK[-1], MASK[:, :8] = False, False


def operands(normalizer, height=0.0, query_scale=None):
    arrays = [jnp.asarray(x[None, :, None]) for x in (QUERY, KEY, VALUE)]
    options = dict.fromkeys(
        ["query_seq_lengths", "key_value_seq_lengths", "local_window_size"]
    )
    found, _ = arrange(
        *arrays,
        jnp.full((1, 1), height),
        MASK,
        sj.parse(normalizer) if isinstance(normalizer, str) else normalizer,
        query_scale,
        is_causal=False,
        segment_ids=None,
        query_offset=None,
        **options,
    )
    return found


def merged(whole, cuts, order=merge):
    """Outputs and levels of rows whose keys are cut at `cuts`."""
    n = jnp.asarray(np.maximum(MASK.sum(-1), 1.0).reshape(1, 1, 1, T, 1))
    counted = with_counts(whole, n, jnp.ones(()))
    head = functools.partial(partial, scale=jnp.ones(()), soft_cap=None)
    edges = [0, *cuts, S]
    parts = [
        PLAN.each_head(head, counted.slice(range(T), range(*edge)))
        for edge in zip(edges[:-1], edges[1:], strict=True)
    ]
    return finish(counted.normalizer, functools.reduce(order, parts)), parts


@pytest.mark.parametrize("height", [0.0, -2e4, 2e4])
@pytest.mark.parametrize("normalizer", ["softmax1(sink=0.7)", "softpick", "sigmoid"])
def test_parts_of_any_number_make_the_row(normalizer, height):
    """One part, three, one of them empty, and eight in the opposite order."""
    whole = operands(normalizer, height)
    expected, _, stats = PLAN.attend(whole, jnp.ones(()), None)
    ways = [
        merged(whole, ()),
        merged(whole, (8, 13)),
        merged(whole, range(3, 24, 3), lambda x, y: merge(y, x)),
    ]
    for (output, level), _ in ways:
        np.testing.assert_allclose(output, expected, atol=1e-12)
        assert not np.asarray(output)[..., -1, :].any()
        if stats.lse is not None:
            lse = level.top + jnp.log(level.unknown)
            np.testing.assert_allclose(lse[..., 0], stats.lse, rtol=1e-12)


def test_merging_is_associative_and_nothing_is_its_identity():
    whole = operands("softmax", -300.0)
    _, parts = merged(whole, (8, 13))
    empty, one, other = parts
    assert (empty.top == -jnp.inf).all() and not empty.values.any()
    for left, right in (
        (merge(empty, one), one),
        (merge(one, nothing(whole)), one),
        (merge(merge(one, empty), other), merge(one, merge(empty, other))),
        (merge(one, other), merge(other, one)),
    ):
        for x, y in zip(left, right, strict=True):
            np.testing.assert_allclose(x, y, rtol=1e-14)


class OwnSolve(sj.Ratio):
    def log_weight(self, z):
        return z

    def solve(self, z, visible):
        return super().solve(z, visible)


@pytest.mark.parametrize(
    ("normalizer", "query_scale", "sentence"),
    [
        ("entmax15", None, "Entmax15 finds a threshold"),
        ("sparse_softmax", None, "SparseSoftmax looks at whole rows"),
        ("r_softmax", None, "RSoftmax looks at whole rows"),
        ("t_softmax", None, "TSoftmax looks at whole rows"),
        (OwnSolve(), None, "OwnSolve has a solve of its own"),
        ("softmax", sj.KeyLengths(), "KeyLengths looks at all visible keys"),
    ],
)
def test_what_cannot_be_put_together_is_refused_by_name(
    normalizer, query_scale, sentence
):
    refused = operands(normalizer, query_scale=query_scale)
    with pytest.raises(sj.UserError, match=sentence):
        check_parts(refused)


@pytest.mark.parametrize("normalizer", ["ssmax", "relu_power", "sigmoid", "multimax"])
def test_what_needs_the_count_alone_is_not(normalizer):
    check_parts(operands(normalizer, query_scale=sj.AdaptiveLength()))
