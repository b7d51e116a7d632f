"""Gradients to q, k, v, bias and every parameter; `chunked` equals `reference`."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import softmax_jax as sj
from softmax_jax.attention import chunked
from tests.specs import SPECS, Spec

pytestmark = [pytest.mark.core, pytest.mark.usefixtures("x64")]

GOLDENS = np.load(Path(__file__).parents[1] / "goldens" / "normalizers.npz")
# One row per family, and one that is selected by rank; every row with -m slow.
FAMILIES = ("ssmax", "sparse_softmax", "entmax15", "sigmoid")
ROWS = [
    pytest.param(name, marks=[] if name in FAMILIES else pytest.mark.slow)
    for name in sj.CATALOGUE
]


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    """Blocks of 2 and at most 2 bands, so that tiny calls have edges of every kind."""
    monkeypatch.setattr(chunked, "BLOCK", 2)
    monkeypatch.setattr(chunked, "MAX_BANDS", 2)
    jax.clear_caches()
    yield
    jax.clear_caches()


def with_arrays(name: str, heads: int) -> sj.Normalizer:
    """The row with a different, non-zero value of each parameter in each head."""
    normalizer = sj.CATALOGUE[name].cls()
    spread = jnp.linspace(0.6, 1.4, heads)
    return jax.tree.map(lambda leaf: (leaf + 0.5) * spread + 0.3, normalizer)


@pytest.mark.parametrize(
    "name",
    [
        pytest.param("softmax", marks=pytest.mark.slow),
        "softmax1",
        pytest.param("sigsoftmax", marks=pytest.mark.slow),
        "ssmax",
        pytest.param("sparsemax", marks=pytest.mark.slow),
        "entmax15",
        "sigmoid",
        pytest.param("relu", marks=pytest.mark.slow),
    ],
)
def test_independent_implementations(name):
    q, k, v, do = (jnp.asarray(GOLDENS[f"attn.{x}"]) for x in ("q", "k", "v", "do"))
    o, pull = jax.vjp(
        lambda q, k, v: sj.dot_product_attention(
            q, k, v, normalizer=name, is_causal=True, implementation="reference"
        ),
        q,
        k,
        v,
    )
    for x, got in zip(("o", "dq", "dk", "dv"), (o, *pull(do)), strict=True):
        np.testing.assert_allclose(got, GOLDENS[f"attn.{name}.{x}"], atol=1e-12)


# SSMax has a parameter per head and notices n, so it meets the features; one row of
# each other family meets grouped heads, where the order of axes is hardest.
PAIRS = [
    pytest.param(
        name,
        spec,
        id=f"{name}-{spec.name}",
        marks=[] if name == "ssmax" and spec.name == "grouped" else pytest.mark.slow,
    )
    for name in ("ssmax", "entmax", "sigmoid")
    for spec in SPECS
    if name == "ssmax" or spec.name == "grouped"
]


@pytest.mark.parametrize(("name", "spec"), PAIRS)
def test_chunked_is_the_reference(name, spec):
    q, k, v = spec.operands(np.float64)
    keywords = spec.keywords(np.float64)
    bias = keywords.pop("bias", None)
    arguments = (q, k, v, bias, with_arrays(name, spec.heads))
    differentiable = (0, 1, 2, 4) if bias is None else (0, 1, 2, 3, 4)

    def run(implementation):
        def loss(q, k, v, bias, normalizer):
            o = sj.dot_product_attention(
                q,
                k,
                v,
                bias,
                normalizer=normalizer,
                implementation=implementation,
                **keywords,
            )
            return (
                o * jnp.cos(jnp.arange(o.size, dtype=o.dtype)).reshape(o.shape)
            ).sum()

        return jax.jit(jax.value_and_grad(loss, differentiable))(*arguments)

    got, expected = run("chunked"), run("reference")
    for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-10)
    assert all(jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(expected))
    assert any(leaf.any() for leaf in jax.tree.leaves(expected[1]))


@pytest.mark.parametrize("name", ROWS)
def test_every_row_is_the_same_in_chunks(name):
    spec = SPECS[4]
    q, k, v = spec.operands(np.float64)
    got, expected = (
        sj.dot_product_attention(
            q,
            k,
            v,
            normalizer=with_arrays(name, spec.heads),
            is_causal=True,
            implementation=implementation,
        )
        for implementation in ("chunked", "reference")
    )
    np.testing.assert_allclose(got, expected, atol=1e-12)


ONE_PER_FAMILY = ("ssmax", "entmax", "sigmoid")


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[] if name in ONE_PER_FAMILY else pytest.mark.slow)
        for name in sj.CATALOGUE
    ],
)
def test_finite_differences(name):
    spec = Spec("fd", t=4, s=5, heads=2, kv_heads=1, options=("causal", "mask", "bias"))
    keywords = spec.keywords(np.float64)
    at = (*spec.operands(np.float64), keywords.pop("bias"), with_arrays(name, 2))
    rng = np.random.default_rng(3)
    along = jax.tree.map(lambda x: jnp.asarray(rng.normal(size=x.shape)), at)

    @jax.jit
    def loss(q, k, v, bias, normalizer):
        o = sj.dot_product_attention(q, k, v, bias, normalizer=normalizer, **keywords)
        return (o * o).sum()

    def moved(step):
        return loss(*jax.tree.map(lambda x, d: x + step * d, at, along))

    difference = (moved(1e-6) - moved(-1e-6)) / 2e-6
    gradients = jax.jit(jax.grad(loss, (0, 1, 2, 3, 4)))(*at)
    products = jax.tree.map(lambda g, d: (g * d).sum(), gradients, along)
    np.testing.assert_allclose(sum(jax.tree.leaves(products)), difference, rtol=1e-6)


@pytest.mark.parametrize(
    "name", [pytest.param("ssmax", marks=pytest.mark.slow), "entmax"]
)
def test_chunked_in_forward_mode_and_second_order(name):
    spec = Spec("orders", t=5, s=5, options=("causal",))
    q, k, v = spec.operands(np.float64)
    normalizer = with_arrays(name, 2)

    def hessian_vector(implementation):
        def loss(q):
            o = sj.dot_product_attention(
                q,
                k,
                v,
                normalizer=normalizer,
                is_causal=True,
                implementation=implementation,
            )
            return (o**2).sum()

        return jax.jit(lambda q: jax.jvp(jax.grad(loss), (q,), (jnp.cos(q),)))(q)

    got, expected = hessian_vector("chunked"), hessian_vector("reference")
    for a, b in zip(got, expected, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-9)
