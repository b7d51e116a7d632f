"""In bfloat16 the kernels err no more than a plain computation in that dtype does."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.experimental.pallas import tpu as pltpu

import softmax_jax as sj
from softmax_jax.attention.kernels.twins import LOG2_E, constants, twin_of
from tests.kernels.calls import by_kernels, by_reference, differentiated

# Scores of standard deviation 2.7 and 0.4.
SCALE, DENSE = 0.15, 0.02
WORST = 3


def plain(q, k, v, bias, mask, *, normalizer, is_causal, scale) -> jax.Array:
    """As stock Flax computes: scores and weights in the dtype of the operands."""
    group = q.shape[2] // k.shape[2]
    k, v = (jnp.repeat(x, group, axis=2) for x in (k, v))
    scores = jnp.einsum("bthd,bshd->bhts", q * jnp.asarray(scale, q.dtype), k)
    seen = np.tril(np.ones(scores.shape[2:], bool))
    of_heads = jax.tree.map(lambda leaf: leaf[:, None, None], normalizer)
    return jnp.einsum("bhts,bshd->bthd", of_heads(scores, where=seen), v)


def root_mean_square(got: Any, truth: Any) -> float:
    difference = np.asarray(got, np.float64) - np.asarray(truth, np.float64)
    return float(np.sqrt(np.mean(difference**2)))


@pytest.mark.slow
@pytest.mark.parametrize("generation", ["v5e", "v6e"])
@pytest.mark.parametrize(
    ("name", "scale"),
    [
        ("softmax1", SCALE),
        ("sigsoftmax", SCALE),
        ("sigsoftmax(k=2.1)", SCALE),
        ("sigsoftmax(k=1.3, c=0.5)", SCALE),
        ("softpick", SCALE),
        ("sigmoid", SCALE),
        ("entmax15", SCALE),
        ("entmax15", DENSE),
        ("sparsemax", DENSE),
    ],
)
def test_errors_are_those_of_the_dtype(name, scale, generation):
    """Of the output and every gradient, parameters included, against float64."""
    rng = np.random.default_rng(0)
    t, heads, groups = 256, 4, 2
    shapes = [(1, t, heads, 64), *[(1, t, groups, 64)] * 2, (1, t, heads, 64)]
    drawn = [jnp.asarray(1.5 * rng.normal(size=x), jnp.bfloat16) for x in shapes]
    operands = [*drawn[:3], None, drawn[3]]
    given = sj.parse(name)
    known = constants(given)
    normalizer = jax.tree.map(lambda x: jnp.full(heads, x, jnp.float32), given)
    if name != "sigsoftmax":
        known = ()  # and so learned
    options = dict(is_causal=True, scale=scale)
    kernels = functools.partial(by_kernels, known=known, generation=generation)
    with pltpu.force_tpu_interpret_mode(pltpu.InterpretParams()):
        got = differentiated(kernels, operands, normalizer, None, options)
        jax.block_until_ready(got)
    naive = differentiated(plain, operands, normalizer, None, options)
    with jax.enable_x64(True):
        wide = jax.tree.map(lambda x: jnp.asarray(np.asarray(x, np.float64)), operands)
        exact = jax.tree.map(
            lambda x: jnp.asarray(np.asarray(x, np.float64)), normalizer
        )
        truth = differentiated(by_reference, wide, exact, None, options)
    if known:
        got, naive, truth = (x._replace(parameters=[]) for x in (got, naive, truth))
    for ours, theirs, right in zip(
        *map(jax.tree.leaves, (got, naive, truth)), strict=True
    ):
        error, allowed = (root_mean_square(x, right) for x in (ours, theirs))
        assert error <= WORST * allowed, f"{error:.2e}, plainly {allowed:.2e}"


@pytest.mark.parametrize("name", ["sigsoftmax", "softpick"])
def test_rounded_weights_have_the_precision_of_bfloat16(name):
    """What a vector unit with bfloat16 computes in it, against the same in float32."""
    z = jnp.linspace(-30, 8, 512, dtype=jnp.float32) * LOG2_E
    given = sj.parse(name)
    twin = twin_of(given, constants(given), exact=False)
    assert twin is not None
    log_w = twin.log_weight(z)
    shift = log_w.max()
    weight, less = twin.rounded(log_w, z, shift)
    w = jnp.exp(given.log_weight(z / LOG2_E))
    expected, mass = (x / jnp.exp2(twin.unit(shift)) for x in (w, w))
    if less is not None:
        expected, mass = w * given.factor(z / LOG2_E), w * given.mass_factor(z / LOG2_E)
        expected, mass = (x / jnp.exp2(shift) for x in (expected, mass))
    weight = weight.astype(jnp.float32)
    unit = 2.0**-8  # the spacing of bfloat16, relative
    np.testing.assert_allclose(weight, expected, rtol=3 * unit, atol=1e-7)
    if less is not None:
        np.testing.assert_allclose(2 * weight - less, mass, atol=3 * unit)
