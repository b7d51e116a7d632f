"""One test per mistake found in public code, which that mistake would fail."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import softmax_jax as sj

pytestmark = pytest.mark.core

Z = jnp.asarray([1.5, 1.0, 0.0, -0.5])


def close(got, expected, tolerance=1e-6):
    np.testing.assert_allclose(got, expected, atol=tolerance)


def far(got, other, distance=1e-2):
    assert np.abs(np.asarray(got) - np.asarray(other)).max() > distance


def gradient(f, z):
    """Of a sum in which every weight counts differently."""
    cotangent = jnp.cos(jnp.arange(z.size, dtype=z.dtype))
    return jax.grad(lambda z: (f(z) * cotangent).sum())(z)


def test_softmax1_adding_a_literal_1_after_the_shift():
    close(sj.softmax1(jnp.asarray([5.0, 4.0, -3.0])).sum(), 0.995, 1e-3)
    close(sj.softmax1(jnp.full(3, -20.0)).sum(), 3 * np.exp(-20), 1e-9)


def test_softmax1_overflowing_its_constant_below_minus_88():
    low = jnp.asarray([-200.0, -150.0, -300.0])
    assert not sj.softmax1(low).any()
    assert jnp.isfinite(gradient(sj.softmax1, low)).all()
    assert jnp.isfinite(gradient(sj.softmax1, jnp.full(3, -3e38))).all()


def test_sink_as_a_rescale_of_the_output_without_the_gradient_of_the_mass():
    """The same as one more key with a value of 0, in every gradient."""
    q, k, v = 2 * jax.random.normal(jax.random.key(0), (3, 1, 4, 1, 4))

    def with_sink(q, k, v):
        return sj.dot_product_attention(q, k, v, normalizer="softmax1(sink=0.8)")

    def with_a_key(q, k, v):
        k, v = (jnp.pad(x, ((0, 0), (0, 1), (0, 0), (0, 0))) for x in (k, v))
        bias = jnp.zeros((4, 5)).at[:, 4].set(0.8)
        return sj.dot_product_attention(q, k, v, bias)

    def gradients(f):
        return jax.grad(lambda *x: (f(*x) ** 2).sum(), (0, 1, 2))(q, k, v)

    for got, expected in zip(gradients(with_sink), gradients(with_a_key), strict=True):
        close(got, expected, 1e-5)


def test_ssmax_as_a_constant_shift():
    far(sj.ssmax(Z, scale=2.0), sj.softmax(Z - 2.0 * np.log(4)))


def test_ssmax_bias_added_to_the_scores():
    far(sj.ssmax(Z, bias=1.0), sj.ssmax(Z, bias=0.0))


def test_ssmax_with_the_effect_of_the_scale_reversed():
    assert sj.ssmax(Z, scale=2.0).max() > sj.ssmax(Z, scale=0.5).max()


def test_ssmax_starting_at_the_scale_of_a_figure():
    assert sj.SSMax().scale == 0.168  # 0.43 belongs to the paper's figure 1


def test_ssmax_counting_padding():
    padded = jnp.concatenate([Z, jnp.zeros(60)])
    close(sj.ssmax(padded, where=jnp.arange(64) < 4)[:4], sj.ssmax(Z))


def test_ssmax_with_one_n_for_all_rows():
    q, k, v = jax.random.normal(jax.random.key(1), (3, 1, 6, 1, 4))
    whole = sj.dot_product_attention(q, k, v, normalizer="ssmax", is_causal=True)
    prefix = sj.dot_product_attention(
        q[:, :3], k[:, :3], v[:, :3], normalizer="ssmax", is_causal=True
    )
    close(whole[:, :3], prefix)


def test_length_scale_erased_by_qk_norm():
    from flax import nnx

    from softmax_jax.nn import Transformer, TransformerConfig

    def logits(scale):
        config = TransformerConfig(
            vocabulary=5,
            layers=1,
            width=8,
            heads=1,
            qk_norm=True,
            normalizer=f"ssmax(scale={scale})",
        )
        return Transformer(config, rngs=nnx.Rngs(0))(jnp.asarray([[1, 2, 3, 4, 0]]))

    far(logits(4.0), logits(0.1))


def test_position_factor_in_half_precision():
    """8191 is 8192 in bfloat16, where Llama 4's temperature steps up."""
    q = jnp.full((1, 1, 1, 4), 3.0, jnp.bfloat16)
    k, v = jax.random.normal(jax.random.key(2), (2, 1, 8192, 1, 4), jnp.bfloat16)

    def output(n, scale):
        lengths = jnp.asarray([n], jnp.int32)
        o = sj.dot_product_attention(
            q, k, v, key_value_seq_lengths=lengths, query_scale=scale
        )
        return o.astype(jnp.float32)

    close(output(8191, "llama4"), output(8191, None))
    assert abs(output(8192, "llama4(slope=3.0)") - output(8192, None)).max() > 0.01


def test_softpick_as_x_over_its_absolute_sum():
    far(sj.softpick(Z), jax.nn.relu(Z) / (1 + jnp.abs(Z).sum()))


def test_softpick_without_a_gradient_below_minus_88():
    low = jnp.asarray([-200.0, -100.0, -90.0])
    assert not sj.softpick(low).any()
    assert jnp.isfinite(gradient(sj.softpick, low)).all()


def test_softpick_losing_digits_near_0():
    small = jnp.asarray([1e-4, 3e-5, -2e-5])
    e = np.expm1(np.asarray(small, float))
    expected = np.maximum(e, 0) / (np.abs(e).sum() + 1e-8)
    np.testing.assert_allclose(sj.softpick(small), expected, rtol=1e-5)


def test_entmax_drifting_with_an_offset():
    x = jnp.asarray(np.random.default_rng(0).normal(size=(2, 4096)), jnp.float32)
    for f in (sj.sparsemax, sj.entmax15, lambda x: sj.entmax(x, alpha=1.25)):
        close(f(x + 10_000).sum(-1), np.ones(2), 1e-4)


def test_entmax_at_alpha_1_being_uniform():
    with pytest.raises(sj.UserError, match="alpha must lie strictly between 1 and inf"):
        sj.entmax(Z, alpha=1.0)
    close(sj.entmax(Z, alpha=1.001), sj.softmax(Z), 2e-3)


def test_entmax_without_a_gradient_to_alpha():
    slope = jax.grad(lambda alpha: sj.entmax(Z, alpha=alpha)[0])(1.3)
    up, down = sj.entmax(Z, alpha=1.31)[0], sj.entmax(Z, alpha=1.29)[0]
    close(slope, (up - down) / 0.02, 1e-3)


def test_sparse_maps_given_minus_infinity():
    z = jnp.asarray([1.0, -jnp.inf, 0.5, -jnp.inf])
    for f in (sj.sparsemax, sj.entmax15, sj.r_softmax, sj.sparse_softmax):
        assert jnp.isfinite(f(z)).all() and jnp.isfinite(gradient(f, z)).all()
        close(f(z)[jnp.asarray([0, 2])], f(z[jnp.asarray([0, 2])]))


def test_relu_attention_by_the_logarithm_trick_in_bfloat16():
    """A trick that adds a large constant and takes it off again is 2 to 3 % off."""
    q, k, v = jax.random.normal(jax.random.key(3), (3, 1, 256, 1, 16), jnp.bfloat16)
    v = v + 1
    got = sj.dot_product_attention(q, k, v, normalizer="relu")
    wide = (x.astype(jnp.float32) for x in (q, k, v))
    expected = sj.dot_product_attention(*wide, normalizer="relu")
    error = jnp.abs(got.astype(jnp.float32) - expected) / jnp.abs(expected)
    assert error.max() < 2**-8


def test_multimax_applied_after_the_mask():
    f = sj.MultiMax(c1=0.3, c2=0.2, c3=0.1, c4=0.1, b1=0.5, b2=0.5)
    z = jnp.asarray([1.0, -jnp.inf, 0.5, -jnp.inf])
    kept = jnp.asarray([0, 2])
    close(f(z)[kept], f(z[kept]))
    assert jnp.isfinite(gradient(f, z)).all()


def test_sigsoftmax_shifted_before_its_sigmoid():
    for offset in (-1200.0, 1200.0):
        close(sj.sigsoftmax(jnp.full(3, offset)), np.full(3, 1 / 3))
    far(sj.sigsoftmax(Z), sj.sigsoftmax(Z - Z.max()))


def test_logarithm_of_the_quotient():
    z = jnp.asarray([0.0, -150.0])
    assert sj.sigsoftmax(z)[1] == 0
    close(sj.log_sigsoftmax(z)[1], -300 + np.log(2), 1e-3)
    assert jnp.isfinite(jax.grad(lambda z: sj.log_sigsoftmax(z)[1])(z)).all()


@pytest.mark.parametrize(("r", "kept"), [(0.2, 40), (0.4, 30), (0.6, 20)])
def test_r_softmax_taking_the_quantile_over_masked_scores(r, kept):
    z = jnp.asarray(np.random.default_rng(1).normal(size=100), jnp.float32)
    p = sj.r_softmax(z, r=r, where=jnp.arange(100) % 2 == 0)
    assert (p > 1e-6).sum() == kept


def test_r_softmax_with_one_quantile_for_a_batch():
    z = jnp.asarray(np.random.default_rng(2).normal(size=(2, 21)), jnp.float32)
    r = jnp.asarray([[0.2], [0.9]])
    rows = [sj.r_softmax(z[i], r=r[i, 0]) for i in range(2)]
    close(sj.r_softmax(z, r=r), jnp.stack(rows))


def test_top_k_selected_in_half_precision():
    """300.0 and 300.5 are one number in bfloat16 but not in float32."""
    z = jnp.asarray([300.0, 300.5, 1.0])
    assert sj.sparse_softmax(z, k=1).tolist() == [0, 1, 0]
