"""Output modules: one norm over all heads, a gate that sees what is not normalized."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from softmax_jax.errors import UserError
from softmax_jax.nn.output import (
    GatedRMSNorm,
    OutputGate,
    OutputRMSNorm,
    SmallGainRMSNorm,
)

pytestmark = pytest.mark.core

HEADS, HEAD_WIDTH = 3, 4
WIDTH = HEADS * HEAD_WIDTH
NORMS = (OutputRMSNorm, SmallGainRMSNorm, GatedRMSNorm)
RANDOM = np.random.default_rng(0)
OUT = jnp.asarray(RANDOM.normal(size=(2, 5, HEADS, HEAD_WIDTH)), jnp.float32)


def by_hand(o, scale, gate):
    """The formula in float64, heads concatenated."""
    o = np.asarray(o, np.float64).reshape(*o.shape[:-2], WIDTH)
    normed = scale * o / np.sqrt((o**2).mean(-1, keepdims=True) + 1e-8)
    return normed / (1 + np.exp(-gate * o))


def test_values() -> None:
    norm = GatedRMSNorm(WIDTH, rngs=nnx.Rngs(0))
    norm.scale[...] = jnp.asarray(RANDOM.normal(size=WIDTH), jnp.float32)
    norm.gate[...] = jnp.asarray(3 * RANDOM.normal(size=WIDTH), jnp.float32)
    expected = by_hand(OUT, np.asarray(norm.scale[...]), np.asarray(norm.gate[...]))
    np.testing.assert_allclose(norm(OUT), expected.reshape(OUT.shape), rtol=2e-6)


def test_a_gate_of_zero_gives_half() -> None:
    plain, gated = (kind(WIDTH, rngs=nnx.Rngs(0)) for kind in (NORMS[0], NORMS[2]))
    gated.gate[...] = jnp.zeros(WIDTH)
    np.testing.assert_allclose(gated(OUT), plain(OUT) / 2, rtol=1e-6)


def test_initial_values() -> None:
    width = 4096
    plain, small, gated = (kind(width, rngs=nnx.Rngs(0)) for kind in NORMS)
    bound = (3 / width) ** 0.5
    for drawn in (small.scale[...], gated.gate[...]):
        assert 0.99 * bound < jnp.abs(drawn).max() < bound
        assert abs(drawn.mean()) < 0.05 * bound
    assert (plain.scale[...] == 1).all() and (gated.scale[...] == 1).all()


@pytest.mark.parametrize("kind", NORMS)
def test_only_the_gate_sees_the_scale(kind) -> None:
    norm = kind(WIDTH, rngs=nnx.Rngs(0))
    same = np.allclose(norm(10 * OUT), norm(OUT), rtol=1e-5)
    assert same == (kind is not GatedRMSNorm)


@pytest.mark.parametrize("kind", NORMS)
def test_heads_are_normalized_together(kind) -> None:
    """A head that is nearly off stays off; a norm per head would turn it on again."""
    norm = kind(WIDTH, rngs=nnx.Rngs(0))
    quiet = norm(OUT.at[..., 1, :].multiply(1e-6))
    assert 0 < jnp.abs(quiet[..., 1, :]).max() < 1e-4


def relu_attention(q, k, v):
    weights = jax.nn.relu(jnp.einsum("thd,shd->hts", q, k))
    return jnp.einsum("hts,shd->thd", weights, v)


@pytest.mark.parametrize("kind", NORMS)
def test_attending_to_nothing_is_silent_and_learns_nothing(kind) -> None:
    norm = kind(WIDTH, rngs=nnx.Rngs(0))
    k, v = (jnp.abs(x) for x in OUT)
    rows = jnp.asarray([-1.0, 1, 1, 1, 1])[:, None, None]
    q = jnp.abs(OUT[0]) * rows  # every score of row 0 is negative

    def loss(q, k, v, row):
        out = norm(relu_attention(q, k, v))
        return (out[row] * OUT[1, row]).sum(), out

    grad = jax.jit(jax.grad(loss, (0, 1, 2), has_aux=True))
    null, out = grad(q, k, v, 0)
    assert not out[0].any() and out[1:].any()
    assert all(not gradient.any() for gradient in null)
    assert all(gradient.any() for gradient in grad(q, k, v, 1)[0])


@pytest.mark.parametrize("kind", NORMS)
def test_gradients_are_those_of_finite_differences(kind, x64) -> None:
    graph, params = nnx.split(kind(WIDTH, rngs=nnx.Rngs(0)))
    params = jax.tree.map(lambda x: jnp.asarray(RANDOM.normal(size=x.shape)), params)
    o, cotangent, *_ = RANDOM.normal(size=(3, 1, HEADS, HEAD_WIDTH))
    along = jax.tree.map(lambda x: jnp.asarray(RANDOM.normal(size=x.shape)), params)
    direction = jnp.asarray(RANDOM.normal(size=o.shape))

    @jax.jit
    def loss(params, o):
        return (nnx.merge(graph, params)(o) * cotangent).sum()

    def moved(step):
        there = jax.tree.map(lambda x, d: x + step * d, params, along)
        return loss(there, jnp.asarray(o) + step * direction)

    _, slope = jax.jvp(loss, (params, jnp.asarray(o)), (along, direction))
    difference = (moved(1e-5) - moved(-1e-5)) / 2e-5
    assert slope.dtype == jnp.float64
    np.testing.assert_allclose(slope, difference, rtol=1e-8)


@pytest.mark.parametrize("kind", NORMS)
def test_half_precision_is_computed_in_float32(kind) -> None:
    norm = kind(WIDTH, rngs=nnx.Rngs(0))
    large = (300 * OUT).astype(jnp.float16)  # whose squares overflow in float16
    assert norm(large).dtype == jnp.float16
    exact = norm(large.astype(jnp.float32)).astype(jnp.float16)
    np.testing.assert_array_equal(norm(large), exact)


def test_a_wrong_width_is_refused() -> None:
    with pytest.raises(UserError, match=r"width 8 takes .* got shape \(2, 5, 3, 4\)"):
        OutputRMSNorm(8, rngs=nnx.Rngs(0))(OUT)


def test_output_gate() -> None:
    gate = OutputGate(6, HEADS, HEAD_WIDTH, rngs=nnx.Rngs(0))
    assert gate.kernel[...].std() == pytest.approx(6**-0.5, rel=0.3)
    x = jnp.asarray(RANDOM.normal(size=(2, 5, 6)), jnp.float32)
    scores = np.tensordot(np.asarray(x, np.float64), np.asarray(gate.kernel[...]), 1)
    expected = np.asarray(OUT) / (1 + np.exp(-scores))
    np.testing.assert_allclose(gate(OUT, x), expected, rtol=1e-5)
    assert gate(OUT.astype(jnp.bfloat16), x).dtype == jnp.bfloat16
    gate.kernel[...] = jnp.zeros((6, HEADS, HEAD_WIDTH))
    np.testing.assert_allclose(gate(OUT, x), OUT / 2, rtol=1e-6)
