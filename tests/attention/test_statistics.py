"""return_stats: what each field is, on both paths, and which have a gradient."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import softmax_jax as sj
from softmax_jax.attention import chunked
from tests.specs import Spec

pytestmark = [pytest.mark.core, pytest.mark.usefixtures("x64")]

SPEC = Spec("stats", t=5, s=5, heads=4, kv_heads=2, options=("causal", "lengths"))
with jax.enable_x64(True):
    Q, K, V = (np.asarray(x) for x in SPEC.operands(np.float64))


@pytest.fixture(params=["reference", pytest.param("chunked", marks=pytest.mark.slow)])
def stats_of(request, monkeypatch):
    monkeypatch.setattr(chunked, "BLOCK", 2)
    jax.clear_caches()

    def stats(q, normalizer, **options):
        _, found = sj.dot_product_attention(
            q,
            jnp.asarray(K, q.dtype),
            jnp.asarray(V, q.dtype),
            normalizer=normalizer,
            implementation=request.param,
            return_stats=True,
            **SPEC.keywords(np.float64),
            **options,
        )
        return found

    yield stats
    jax.clear_caches()


def visible_scores(b, h, i):
    """The scores of one query by hand; lengths are (4, 5) and (3, 4), causal."""
    q_length, k_length = SPEC.t - 1 + b, SPEC.s - 2 + b
    if i >= q_length:
        return np.zeros(0)
    seen = range(min(k_length, i + k_length - q_length + 1))
    return np.array([Q[b, i, h] @ K[b, j, h // 2] / 2 for j in seen])


def rows():
    for b, h, i in np.ndindex(2, 4, 5):
        yield (b, h, i), visible_scores(b, h, i)


def test_counts_maxima_and_log_sum_exp(stats_of):
    found = stats_of(jnp.asarray(Q), "softmax")
    assert found.tau is None and found.lse.shape == (2, 4, 5)
    for at, z in rows():
        assert found.visible_count[at] == len(z)
        assert found.support_size[at] == len(z)
        np.testing.assert_allclose(found.row_max[at], z.max() if len(z) else 0)
        lse = np.log(np.exp(z).sum()) if len(z) else -np.inf
        np.testing.assert_allclose(found.lse[at], lse, atol=1e-12)


def test_chunks_have_the_statistics_of_the_reference(monkeypatch):
    monkeypatch.setattr(chunked, "BLOCK", 2)
    jax.clear_caches()

    def found(implementation):
        return sj.dot_product_attention(
            *map(jnp.asarray, (Q, K, V)),
            normalizer="softmax1(sink=0.3)",
            implementation=implementation,
            return_stats=True,
            **SPEC.keywords(np.float64),
        )[1]

    pairs = zip(
        *map(jax.tree.leaves, map(found, ("chunked", "reference"))), strict=True
    )
    for got, expected in pairs:
        np.testing.assert_allclose(got, expected, atol=1e-12)
    jax.clear_caches()


def test_a_sink_counts_in_lse_and_a_multiplier_not_in_row_max(stats_of):
    sink = stats_of(jnp.asarray(Q), "softmax1(sink=0.3)")
    sharp = stats_of(jnp.asarray(Q), "ssmax(scale=2.0)")
    for at, z in rows():
        expected = np.log(np.exp(z).sum() + np.exp(0.3))
        np.testing.assert_allclose(sink.lse[at], expected, atol=1e-12)
        np.testing.assert_allclose(sharp.row_max[at], z.max() if len(z) else 0)


def test_thresholds_and_supports(stats_of):
    found = stats_of(jnp.asarray(Q), "sparsemax")
    assert found.lse is None
    for at, z in rows():
        if len(z):
            kept = z[z > found.tau[at]]
            assert found.support_size[at] == len(kept)
            np.testing.assert_allclose((kept - found.tau[at]).sum(), 1, atol=1e-9)
    assert stats_of(jnp.asarray(Q), "sigmoid").tau is None


@pytest.mark.parametrize(
    ("normalizer", "field"), [("softmax", "lse"), ("entmax15", "tau")]
)
def test_what_is_differentiable(stats_of, normalizer, field):
    """lse and tau by differences: a penalty on them trains."""
    direction, step = np.cos(np.arange(Q.size)).reshape(Q.shape), 1e-6

    def loss(q):
        found = getattr(stats_of(q, normalizer), field)
        return jnp.where(jnp.isfinite(found), found, 0).sum()

    gradient = (jax.grad(loss)(jnp.asarray(Q)) * direction).sum()
    up, down = (
        loss(jnp.asarray(Q + step * direction)),
        loss(jnp.asarray(Q - step * direction)),
    )
    np.testing.assert_allclose(gradient, (up - down) / (2 * step), rtol=1e-6)


def test_what_is_not_differentiable_has_no_gradient(stats_of):
    def loss(q):
        found = stats_of(q, "sparsemax")
        return (found.row_max + found.support_size + found.visible_count).sum()

    assert not jax.grad(loss)(jnp.asarray(Q)).any()


def test_in_bfloat16_they_stay_float32_and_come_after_the_weights():
    q, k, v = (jnp.asarray(x, jnp.bfloat16) for x in (Q, K, V))
    output, weights, found = sj.dot_product_attention(
        q, k, v, return_weights=True, return_stats=True
    )
    assert output.dtype == jnp.bfloat16 and weights.shape == (2, 4, 5, 5)
    assert found.lse.dtype == jnp.float32
