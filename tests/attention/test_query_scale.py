"""Query scales in attention: what they see, how they compose, and the specs."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import softmax_jax as sj
from softmax_jax.attention import chunked
from tests.specs import SPECS, Spec

pytestmark = [pytest.mark.core, pytest.mark.usefixtures("x64")]

SPEC = Spec("scaled", t=5, s=7, heads=4, kv_heads=2, options=("causal", "lengths"))


def attend(normalizer="softmax", spec=SPEC, **options):
    return sj.dot_product_attention(
        *spec.operands(np.float64),
        normalizer=normalizer,
        **spec.keywords(np.float64),
        **options,
    )


def close(got, expected):
    np.testing.assert_allclose(got, expected, atol=1e-12)


def test_log_length_makes_ssmax_of_softmax():
    close(
        attend(query_scale="log_length(scale=0.7, bias=0.2)"),
        attend("ssmax(scale=0.7, bias=0.2)"),
    )


def test_log_length_composes_with_any_row():
    scale = np.log(3.0) * 0.7
    q, k, v = Spec("s", t=1, s=3).operands(np.float64)
    got = sj.dot_product_attention(
        q, k, v, normalizer="sparsemax", query_scale="log_length(scale=0.7)"
    )
    close(got, sj.dot_product_attention(q * scale, k, v, normalizer="sparsemax"))


@pytest.mark.parametrize(
    ("spec", "multiplier"),
    [
        ("log_n(length=3)", lambda n: np.maximum(1, np.log(n) / np.log(3))),
        ("llama4(slope=0.5, floor=2)", lambda n: 1 + 0.5 * np.log(n // 2 + 1)),
        (
            "adaptive_length(beta=0.7, gamma=-1.5)",
            lambda n: 1 + 0.7 * np.log(np.maximum(n, 2)) ** -1.5,
        ),
    ],
)
def test_scales_of_the_length(spec, multiplier):
    """Against queries multiplied by hand; n is the position under a causal mask."""
    q, k, v = Spec("square", t=6, s=6).operands(np.float64)
    c = multiplier(np.arange(1, 7.0)).reshape(1, 6, 1, 1)
    got = sj.dot_product_attention(q, k, v, is_causal=True, query_scale=spec)
    close(got, sj.dot_product_attention(q * c, k, v, is_causal=True))


@pytest.mark.parametrize(
    ("statistic", "total"),
    [
        ("sum", np.sum),
        ("max", np.max),
        ("root_sum_square", lambda length: np.sqrt(np.sum(length**2))),
    ],
)
def test_key_lengths_divide_by_what_the_query_sees(statistic, total):
    q, k, v = Spec("one_head", t=4, s=4, heads=1, kv_heads=1, batch=1).operands(float)
    spec = f"key_lengths(statistic='{statistic}')"
    got = sj.dot_product_attention(q, k, v, is_causal=True, query_scale=spec)
    for i in range(4):
        seen = np.asarray(k[0, : i + 1, 0])
        z = seen @ np.asarray(q[0, i, 0]) / total(np.linalg.norm(seen, axis=-1))
        close(got[0, i, 0], sj.softmax(jnp.asarray(z)) @ v[0, : i + 1, 0])


def test_key_lengths_do_not_notice_the_length_of_all_keys():
    q, k, v = SPECS[0].operands(np.float64)

    def output(k, scale=None):
        return sj.dot_product_attention(q, k, v, scale=scale, query_scale="key_lengths")

    close(output(3.7 * k), output(k))
    close(output(k, scale=9.0), output(k))


def test_key_lengths_with_zero_keys_and_empty_rows_have_finite_gradients():
    q, k, v = SPECS[0].operands(np.float64)
    mask = jnp.ones((5, 5), bool).at[1].set(False)

    def loss(q, k):
        o = sj.dot_product_attention(q, k, v, mask=mask, query_scale="key_lengths")
        return (o**2).sum()

    for at in (k, k * 0):
        assert all(jnp.isfinite(g).all() for g in jax.grad(loss, (0, 1))(q, at))


@pytest.mark.slow
def test_key_lengths_gradient_by_differences_and_detached():
    q, k, v = SPECS[1].operands(np.float64)

    def loss(k, spec):
        o = sj.dot_product_attention(q, k, v, is_causal=True, query_scale=spec)
        return (o**2).sum()

    direction, step = jnp.cos(jnp.arange(k.size, dtype=k.dtype)).reshape(k.shape), 1e-6
    exact, cut = (
        (jax.grad(loss)(k, f"key_lengths(detached={flag})") * direction).sum()
        for flag in (False, True)
    )
    spec = "key_lengths"
    up, down = loss(k + step * direction, spec), loss(k - step * direction, spec)
    np.testing.assert_allclose(exact, (up - down) / (2 * step), rtol=1e-6)
    assert abs(exact - cut) > 1e-3 * abs(exact)


@pytest.mark.parametrize(
    "scale", [pytest.param("log_length", marks=pytest.mark.slow), "key_lengths"]
)
def test_chunks_scale_as_the_reference(scale, monkeypatch):
    monkeypatch.setattr(chunked, "BLOCK", 2)
    jax.clear_caches()
    query_scale = jax.tree.map(
        lambda leaf: (leaf + 0.5) * jnp.linspace(0.6, 1.4, 4),
        sj.parse_query_scale(scale),
    )

    def run(implementation):
        def loss(query_scale):
            o = attend(query_scale=query_scale, implementation=implementation)
            return (o**2).sum()

        return jax.value_and_grad(loss)(query_scale)

    got, expected = run("chunked"), run("reference")
    jax.clear_caches()
    for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(expected), strict=True):
        close(a, b)


@pytest.mark.parametrize(
    ("spec", "sentence"),
    [
        ("log_lenght", "no query scale is called 'log_lenght'; nearest: log_length"),
        ("log_n(size=3)", "log_n has no parameter 'size'"),
        ("key_lengths(statistic='mean')", "statistic must be one of sum, max"),
    ],
)
def test_a_wrong_spec_gets_one_sentence(spec, sentence):
    with pytest.raises(sj.UserError, match=sentence):
        attend(query_scale=spec)


def test_the_flax_hook_passes_it_on():
    q, k, v = SPECS[0].operands()
    hook = sj.attention_fn("sparsemax", query_scale="log_length(scale=0.9)")
    expected = sj.dot_product_attention(
        q, k, v, normalizer="sparsemax", query_scale="log_length(scale=0.9)"
    )
    np.testing.assert_allclose(hook(q, k, v), expected, atol=1e-6)
    assert hash(hook) == hash(
        sj.attention_fn("sparsemax", query_scale=sj.LogLength(scale=0.9))
    )
