"""Stacked blocks are the same model, and recomputed blocks keep less."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import softmax_jax as sj
from softmax_jax import nn

LAYERS = 3
TOKENS = jnp.asarray([[3, 1, 4, 1, 5, 9], [2, 6, 5, 3, 5, 8]], jnp.int32)
SOURCE = jnp.asarray([[3, 1, 4, 1, 5], [2, 6, 5, 3, 5]], jnp.int32)
LENGTHS = jnp.asarray([3, 5], jnp.int32)


def sizes(**options):
    shared = dict(vocabulary=11, layers=LAYERS, width=16, heads=2, mlp_width=16)
    return dict(normalizer="ssmax", **shared) | options


@functools.cache
def transformer(**options):
    return nn.Transformer(nn.TransformerConfig(**sizes(**options)), rngs=nnx.Rngs(0))


@functools.cache
def translator(**options):
    config = nn.EncoderDecoderConfig(**sizes(source_vocabulary=7, **options))
    return nn.EncoderDecoder(config, rngs=nnx.Rngs(0))


def loss_of(model, state):
    model = nnx.merge(nnx.graphdef(model), state)
    if isinstance(model, nn.EncoderDecoder):
        return (model(SOURCE, TOKENS, source_lengths=LENGTHS) ** 2).mean()
    return (model(TOKENS) ** 2).mean()


@functools.cache
def value_and_gradient(make, **options):
    """Of the loss; the gradient by name, layers stacked whatever the model."""
    model = make(**options)
    loss = functools.partial(loss_of, model)
    value, gradient = jax.jit(jax.value_and_grad(loss))(nnx.state(model))
    return value, by_name(gradient)


def by_name(state):
    """Leaves by name; those of several blocks as one array under blocks."""
    found, layers = {}, {}
    for path, leaf in nnx.to_flat_state(state):
        if "blocks" in path and isinstance(path[path.index("blocks") + 1], int):
            place = path.index("blocks") + 1
            name = (*path[:place], *path[place + 1 :])
            layers.setdefault(name, []).append(leaf[...])
        else:
            found[path] = np.asarray(leaf[...])
    return found | {name: np.stack(leaves) for name, leaves in layers.items()}


def assert_equal(found, expected, atol=0.0):
    assert found.keys() == expected.keys()
    for name, leaf in expected.items():
        np.testing.assert_allclose(found[name], leaf, rtol=1e-6, atol=atol)


def test_stacked_blocks_start_as_the_others_do():
    stacked = nnx.state(transformer(scan=True))
    assert stacked.blocks.attention.query.kernel.shape == (LAYERS, 16, 2, 8)
    assert_equal(by_name(stacked), by_name(nnx.state(transformer())))


@pytest.mark.parametrize(
    ("make", "scan", "remat"),
    [
        (transformer, False, "full"),
        pytest.param(transformer, False, "dots", marks=pytest.mark.slow),
        pytest.param(transformer, True, "none", marks=pytest.mark.slow),
        (transformer, True, "dots"),
        pytest.param(translator, True, "full", marks=pytest.mark.slow),
    ],
)
def test_neither_loop_nor_remat_changes_loss_or_gradient(make, scan, remat):
    value, gradient = value_and_gradient(make)
    got, found = value_and_gradient(make, scan=scan, remat=remat)
    np.testing.assert_allclose(got, value, rtol=1e-6)
    assert all(leaf.any() for leaf in gradient.values())
    assert_equal(found, gradient, atol=1e-6)


@pytest.mark.parametrize("scan", [False, True])
def test_what_each_policy_saves_of_a_layer(scan):
    def saved(remat, layers):
        """Numbers that the backward pass is handed, but for the parameters."""
        model = transformer(scan=scan, remat=remat, layers=layers)
        state, loss = nnx.state(model), functools.partial(loss_of, model)
        residuals = jax.eval_shape(lambda state: jax.vjp(loss, state)[1], state)
        return sum(x.size for x in jax.tree.leaves(residuals)) - sum(
            x.size for x in jax.tree.leaves(state)
        )

    none, dots, full = (saved(x, 3) - saved(x, 2) for x in ("none", "dots", "full"))
    one = TOKENS.size * 16
    assert full == one  # its input
    assert dots == one + 6 * one  # query, key, value, out, gate, up
    assert none > 2 * dots


def test_a_scanned_model_is_traced_once_for_all_layers():
    def products(layers):
        model = transformer(scan=True, layers=layers)
        traced = jax.make_jaxpr(functools.partial(loss_of, model))(nnx.state(model))
        return str(traced).count("dot_general[")

    assert products(2) == products(LAYERS)


@pytest.mark.slow
def test_a_scanned_model_decodes_and_shows_its_weights():
    @nnx.jit
    def seen(model):
        _, layers = model.run(TOKENS)
        outputs = [layer.output for layer in layers]
        return outputs, nn.attention_weights(model, TOKENS)

    models = transformer(scan=True, layers=2), transformer(layers=2)
    for found, expected in zip(*map(seen, models), strict=True):
        np.testing.assert_allclose(found, expected, atol=1e-5)
    key = jax.random.key(0)
    found, expected = (nn.generate(model, TOKENS, 4, key=key) for model in models)
    np.testing.assert_array_equal(found, expected)


@pytest.mark.slow
def test_a_scanned_model_translates():
    translate = functools.partial(
        nn.translate, source=SOURCE, start=0, end=1, length=4, source_lengths=LENGTHS
    )
    found, expected = (translate(translator(scan=scan)) for scan in (True, False))
    np.testing.assert_array_equal(found.tokens, expected.tokens)
    np.testing.assert_allclose(found.scores, expected.scores, rtol=1e-5)


def test_other_models_scan_too():
    shape = dict(classes=3, image_size=4, patch=2, layers=2, width=8, heads=2)
    config = nn.VisionTransformerConfig(**shape, scan=True)
    images = jax.ShapeDtypeStruct((2, 4, 4, 3), jnp.float32)

    def run(images):
        model = nn.VisionTransformer(config, rngs=nnx.Rngs(0))
        return model(images), nnx.state(model.blocks)

    logits, blocks = jax.eval_shape(run, images)
    assert logits.shape == (2, 3)
    assert blocks.attention.query.bias.shape == (2, 2, 4)


@pytest.mark.parametrize("name", ["encoder_normalizer", "cross_normalizer"])
def test_layers_that_differ_are_not_stacked(name):
    pair = ("softmax", "ssmax")
    with pytest.raises(sj.UserError, match="scan, normalizer must be one for all"):
        nn.TransformerConfig(**sizes(layers=2, normalizer=pair, scan=True))
    with pytest.raises(sj.UserError, match=f"scan, {name} must be one for all"):
        nn.EncoderDecoderConfig(**sizes(layers=2, scan=True), **{name: pair})
    assert nn.TransformerConfig(**sizes(normalizer=("softmax",) * LAYERS, scan=True))


def test_a_policy_that_there_is_not_is_refused():
    with pytest.raises(sj.UserError, match="remat must be one of none, dots, full, go"):
        nn.TransformerConfig(**sizes(remat="some"))
