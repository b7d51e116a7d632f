"""The slots around the normalizer in the Transformer: scales, norms, gates, links."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import softmax_jax as sj
from softmax_jax.nn import (
    AdaptiveScale,
    LearnedAttentionFn,
    LinenLearnedAttentionFn,
    NormalizerParam,
    OutputLink,
    Transformer,
    TransformerConfig,
    generate,
)

SMALL = dict(vocabulary=11, layers=1, width=16, heads=2)
TOKENS = jnp.asarray(np.random.default_rng(0).integers(0, 11, (2, 7)), jnp.int32)

SLOTS = {
    "asentmax": dict(normalizer="entmax15", query_scale="adaptive_length"),
    "rela_g": dict(normalizer="relu", output_norm="gated", qk_norm=True),
    "rela_i": dict(normalizer="relu", output_norm="small_gain"),
    "gated": dict(output_gate=True, query_scale="key_lengths(statistic='max')"),
    "link": dict(link="multimax(c1=0.3, d1=1.0)", query_scale="llama4(floor=2)"),
    "selected": dict(normalizer="r_softmax(eps=1e-3)", query_scale="log_n(length=4)"),
    "top_k": dict(normalizer="sparse_softmax(k=3)", logits_soft_cap=5.0),
}


def build(**options) -> Transformer:
    return Transformer(TransformerConfig(**SMALL, **options), rngs=nnx.Rngs(0))


# With -m slow all of them.
PROMPT = [
    pytest.param(name, marks=[] if name in ("asentmax", "rela_g") else pytest.mark.slow)
    for name in SLOTS
]


@pytest.mark.parametrize("name", PROMPT)
def test_cached_decoding_is_the_full_pass(name):
    model = build(**SLOTS[name])
    sampled = generate(model, TOKENS[:, :3], 4, key=jax.random.key(0), temperature=0.0)
    logits = nnx.jit(lambda model, tokens: model(tokens))(model, sampled)
    np.testing.assert_array_equal(logits.argmax(-1)[:, 2:-1], sampled[:, 3:])


@pytest.mark.parametrize("name", PROMPT)
def test_every_parameter_gets_a_gradient(name):
    model = build(**SLOTS[name])

    @nnx.jit
    @nnx.grad
    def gradient(model):
        logits = model(TOKENS)
        return (logits[:, :-1] * jnp.cos(logits[:, 1:])).mean()

    leaves = jax.tree.leaves_with_path(gradient(model))
    # Thresholds of MultiMax whose coefficient is 0 have no gradient yet.
    silent = [jax.tree_util.keystr(path) for path, leaf in leaves if not leaf.any()]
    assert all("link" in path for path in silent)
    assert all(jnp.isfinite(leaf).all() for _, leaf in leaves)


def test_a_link_is_the_normalizer_of_the_logits():
    logits = jnp.asarray(np.random.default_rng(1).normal(size=(2, 3, 9)), jnp.float32)
    spec = "multimax(c1=0.4, c2=-0.3, b1=0.2, d1=1.0)"
    got = jax.nn.softmax(OutputLink(spec).map(logits))
    np.testing.assert_allclose(got, sj.parse(spec)(logits), atol=1e-6)


@pytest.mark.parametrize("spec", ["softmax1", "sparsemax", "softpick", "ssmax"])
def test_what_is_not_a_softmax_of_mapped_scores_is_no_link(spec):
    with pytest.raises(sj.UserError, match="link must be a softmax of mapped scores"):
        OutputLink(spec)


def test_adaptive_scale_is_the_formula():
    scale = AdaptiveScale(16, 2, rngs=nnx.Rngs(0))
    x = jnp.asarray(np.random.default_rng(2).normal(size=(1, 3, 16)), jnp.float32)
    found = scale(x)
    np.testing.assert_allclose(
        found.beta, jnp.logaddexp(0, x @ scale.beta.kernel[...]), rtol=1e-5
    )
    np.testing.assert_allclose(
        found.gamma, 2 * jnp.tanh(x @ scale.gamma.kernel[...]), rtol=1e-5
    )


def test_stock_flax_modules_learn_a_query_scale():
    from flax import linen

    x = jnp.asarray(np.random.default_rng(3).normal(size=(2, 5, 8)), jnp.float32)
    learned = LearnedAttentionFn("sparsemax", heads=2, query_scale="log_length")
    host = nnx.MultiHeadAttention(
        num_heads=2, in_features=8, decode=False, attention_fn=learned, rngs=nnx.Rngs(0)
    )
    gradient = nnx.grad(lambda host: (host(x) ** 2).sum())(host)
    of_scale = nnx.to_flat_state(nnx.filter_state(gradient, NormalizerParam))
    assert [value[...].any() for _, value in of_scale] == [True]

    host = linen.MultiHeadDotProductAttention(
        num_heads=2,
        attention_fn=LinenLearnedAttentionFn("sparsemax", query_scale="log_length"),
    )
    variables = host.init(jax.random.key(0), x)
    gradient = jax.grad(lambda v: (host.apply(v, x) ** 2).sum())(variables)
    flat = {jax.tree_util.keystr(p): g for p, g in jax.tree.leaves_with_path(gradient)}
    assert [g.any() for path, g in flat.items() if "query_scale" in path] == [True]
