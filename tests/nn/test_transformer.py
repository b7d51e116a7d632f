"""The Transformer: who sees whom, what is stored, and what each option changes."""

import functools

import jax
import jax.numpy as jnp
import jaxtyping
import numpy as np
import pytest
from flax import nnx

import softmax_jax as sj
from softmax_jax import nn
from softmax_jax.nn.rope import rotate

pytestmark = pytest.mark.core

VOCABULARY, LAYERS, WIDTH, HEADS = 11, 2, 16, 2
TOKENS = jnp.asarray([[3, 1, 4, 1, 5, 9], [2, 6, 5, 3, 5, 8]], jnp.int32)


@pytest.fixture
def without_type_checks(monkeypatch):
    """As a user calls it: types are checked in tests only."""
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)


def config(**options):
    sizes = dict(vocabulary=VOCABULARY, layers=LAYERS, width=WIDTH, heads=HEADS)
    # Kernels of one shape are initialized by one compilation.
    sizes |= dict(mlp_width=WIDTH)
    return nn.TransformerConfig(**sizes | options)


def transformer(**options):
    """A model that notices one visible key too many, unless told otherwise."""
    defaults = dict(normalizer="ssmax", kv_heads=1)
    return nn.Transformer(config(**defaults | options), rngs=nnx.Rngs(0))


def copied(source, target):
    """`target` with the parameters of `source` where both have them."""
    nnx.update(target, nnx.state(source))
    return target


def close(got, expected, atol=1e-5):
    np.testing.assert_allclose(got, expected, atol=atol)


def distance(got, other):
    return np.abs(np.asarray(got) - np.asarray(other))


def shapes(model):
    return {
        ".".join(map(str, path)): variable.shape
        for path, variable in nnx.to_flat_state(nnx.state(model))
    }


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (
            dict(positions="alibi"),
            "positions must be one of rope, sinusoid, none, got 'alibi'",
        ),
        (
            dict(dtype="flaot32"),
            "dtype must be one of float32, bfloat16, got 'flaot32'",
        ),
        (dict(heads=3), "width must be a multiple of heads .* got 16 and 3"),
        (dict(heads=4, kv_heads=3), "multiple of kv_heads, got 4 and 3"),
        (dict(kv_heads=0), "kv_heads must be at least 1, got 0"),
        (dict(layers=0), "layers must be at least 1, got 0"),
        (dict(head_width=3), "positions rope needs an even head_width, got 3"),
        (dict(normalizer=("softmax",) * 3), r"one per layer \(2\), got 3"),
        (dict(normalizer=sj.SSMax(scale=jnp.ones(2))), "normalizer must be made of"),
        (dict(normalizer=["softmax", "ssmax"]), "normalizer must be made of numbers"),
        (dict(learned=["scale"]), "learned must be made of numbers"),
    ],
)
@pytest.mark.usefixtures("without_type_checks")
def test_a_wrong_configuration_gets_one_sentence(options, sentence):
    with pytest.raises(sj.UserError, match=sentence):
        config(**options)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (dict(normalizer="softmx"), "nearest: softmax"),
        (dict(learned=("alpha",)), "Softmax has no parameter 'alpha' to learn"),
    ],
)
def test_a_wrong_normalizer_gets_one_sentence(options, sentence):
    with pytest.raises(sj.UserError, match=sentence):
        nn.Transformer(config(**options), rngs=nnx.Rngs(0))


def test_a_later_token_changes_no_earlier_logits():
    model = transformer()
    before, after = model(TOKENS), model(TOKENS.at[:, 4].set(7))
    assert before.shape == (*TOKENS.shape, VOCABULARY) and before.dtype == jnp.float32
    np.testing.assert_array_equal(before[:, :4], after[:, :4])
    assert (distance(before, after)[:, 4:].max(-1) > 1e-4).all()


@pytest.mark.parametrize("positions", ["rope", "none"])
def test_segments_are_separate_documents(positions):
    model = transformer(positions=positions)
    segments = jnp.asarray([[0, 0, 0, 1, 1, 1]] * 2, jnp.int32)
    packed = model(TOKENS, segment_ids=segments)
    close(packed[:, :3], model(TOKENS)[:, :3])
    # Alone at the start of a row, the second document is seen by nothing else.
    close(packed[:, 3:], model(jnp.roll(TOKENS, 3, axis=1))[:, :3])
    assert distance(packed, model(TOKENS))[:, 3:].max() > 1e-3


def test_rope_turns_by_position_and_scores_by_distance():
    x = jnp.asarray(np.random.default_rng(0).normal(size=(1, 1, 1, 4)), jnp.float32)

    def at(position):
        return rotate(x, jnp.full((1, 1), position), theta=100.0)[0, 0, 0]

    halves = np.asarray(x).reshape(2, 2)
    turned = (halves[0] + 1j * halves[1]) * np.exp(1j * np.array([3.0, 0.3]))
    close(at(3), [*turned.real, *turned.imag])
    close(at(0), x[0, 0, 0])
    close(at(2) @ at(7), at(12) @ at(7))
    rope, none = transformer(), transformer(positions="none")
    moved, _ = rope.run(TOKENS, start=50)
    close(moved, rope(TOKENS), atol=1e-4)
    assert distance(rope(TOKENS), none(TOKENS)).max() > 1e-3


def test_grouped_heads_are_shared_heads():
    grouped, full = transformer(), transformer(kv_heads=None)
    kernels = shapes(grouped)
    assert kernels["blocks.0.attention.query.kernel"] == (WIDTH, HEADS, WIDTH // HEADS)
    assert kernels["blocks.0.attention.key.kernel"] == (WIDTH, 1, WIDTH // HEADS)
    assert kernels["blocks.0.attention.value.kernel"] == (WIDTH, 1, WIDTH // HEADS)
    state = jax.tree.map(
        lambda own, shape: jnp.broadcast_to(own, shape.shape),
        nnx.state(grouped),
        nnx.state(full),
    )
    nnx.update(full, state)
    close(full(TOKENS), grouped(TOKENS))


def test_a_free_head_is_the_embedding_until_it_is_trained():
    tied, free = transformer(), transformer(tied=False)
    assert set(shapes(free)) - set(shapes(tied)) == {"head.kernel"}
    copied(tied, free)
    assert distance(free(TOKENS), tied(TOKENS)).max() > 1e-3
    free.head.kernel[...] = tied.embed.embedding[...].T
    close(free(TOKENS), tied(TOKENS))


def test_qk_norm_takes_the_length_out_of_queries_and_keys():
    normed, plain = transformer(qk_norm=True), transformer()
    added = set(shapes(normed)) - set(shapes(plain))
    assert added == {
        f"blocks.{i}.attention.{name}_norm.scale"
        for i in range(LAYERS)
        for name in ("query", "key")
    }
    for model, changed in ((normed, False), (plain, True)):
        before = model(TOKENS)
        for block in model.blocks:
            block.attention.query.kernel[...] *= 8
            block.attention.key.kernel[...] *= 8
        assert (distance(model(TOKENS), before).max() > 1e-2) == changed


def test_soft_cap_and_implementation_are_handed_on():
    model, capped = transformer(), transformer(logits_soft_cap=0.1)
    assert distance(model(TOKENS), capped(TOKENS)).max() > 1e-3
    chunked = transformer(implementation="chunked")
    with pytest.raises(NotImplementedError, match="chunked never holds the weights"):
        nn.attention_weights(chunked, TOKENS)


class LogQuadratic(sj.Ratio):
    """A user's own, in no catalogue."""

    curvature: float = sj.parameter(0.5, bounds=(0.0, float("inf")))

    def log_weight(self, z):
        return jnp.log1p(self.curvature * z * z)


@functools.cache
def value_and_gradient(remat):
    """Of a model with a user's normalizer; and the products that computing it takes."""
    model = transformer(normalizer=LogQuadratic(), layers=1, remat=remat)
    graphdef, state = nnx.split(model)

    def loss(state):
        return (nnx.merge(graphdef, state)(TOKENS) ** 2).sum()

    traced = jax.jit(jax.value_and_grad(loss)).trace(state)
    products = str(traced.jaxpr).count(" dot_general[")
    return *traced.lower().compile()(state), products


def test_remat_recomputes_and_changes_no_gradient():
    *got, more = value_and_gradient(remat="full")
    *expected, fewer = value_and_gradient(remat="none")
    assert more > fewer
    for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(expected), strict=True):
        assert np.asarray(b).any()
        close(a, b, atol=1e-4)


def test_a_class_of_the_user_is_learned_like_any_other():
    _, gradient, _ = value_and_gradient(remat="none")
    (learned,) = jax.tree.leaves(nnx.filter_state(gradient, nn.NormalizerParam))
    assert learned.shape == (HEADS,) and np.asarray(learned).all()


def test_bfloat16_is_for_activations_alone():
    model, half = transformer(), transformer(dtype="bfloat16")
    assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves(nnx.state(half)))
    with jax.numpy_dtype_promotion("standard"):  # Flax itself is not strict here.
        logits, layers = nnx.jit(nn.Transformer.run)(half, TOKENS)
    assert logits.dtype == jnp.float32
    assert all(layer.output.dtype == jnp.bfloat16 for layer in layers)
    close(logits, model(TOKENS), atol=0.1)


def test_every_layer_has_its_own_normalizer_and_parameters():
    model = transformer(normalizer=("ssmax(scale=0.3)", sj.Softmax1(sink=-1.0)))
    stored = nnx.to_flat_state(nnx.state(model, nn.NormalizerParam))
    assert {path[-1]: list(variable[...]) for path, variable in stored} == {
        "scale": [np.float32(0.3)] * HEADS,
        "sink": [-1.0] * HEADS,
    }
    first, second = (block.attention.normalizer() for block in model.blocks)
    assert isinstance(first, sj.SSMax) and isinstance(second, sj.Softmax1)
    fixed = transformer(normalizer=("ssmax(scale=0.3)", "softmax1"), learned=())
    assert not jax.tree.leaves(nnx.state(fixed, nn.NormalizerParam))
    weights = list(map(np.asarray, nn.attention_weights(model, TOKENS)))
    assert [w.shape for w in weights] == [(2, HEADS, 6, 6)] * LAYERS
    assert not any(np.triu(w, 1).any() for w in weights)
    close(weights[0].sum(-1), 1)
    assert (weights[1].sum(-1) < 0.999).all()
    # The weights are of this model: another scale gives others.
    model.blocks[0].attention.normalizer.scale[...] *= 3
    assert distance(nn.attention_weights(model, TOKENS)[0], weights[0]).max() > 1e-3


def test_equal_configurations_make_equal_definitions():
    first, second = (
        nnx.graphdef(transformer(normalizer=sj.SSMax(scale=0.2))) for _ in range(2)
    )
    assert first == second and hash(first) == hash(second)
