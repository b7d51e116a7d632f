"""Learned parameters: what is stored, where it lives, and that it stays in bounds."""

import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen, nnx

import softmax_jax as sj
from softmax_jax import nn
from softmax_jax.attention.flax_hook import AttentionFn
from softmax_jax.normalizers.parameters import settable

pytestmark = pytest.mark.core


HEADS, T, WIDTH = 2, 5, 8
X = jnp.asarray(np.random.default_rng(0).normal(size=(1, T, WIDTH)), jnp.float32)
CAUSAL = linen.make_causal_mask(X[..., 0])
SCALES = jnp.asarray([0.4, 0.9])


def nnx_host(attention_fn):
    return nnx.MultiHeadAttention(
        HEADS, WIDTH, attention_fn=attention_fn, decode=False, rngs=nnx.Rngs(0)
    )


def linen_host(attention_fn):
    """The module, and variables with the projections of the other host."""
    host = linen.MultiHeadDotProductAttention(HEADS, attention_fn=attention_fn)
    shapes = jax.eval_shape(host.init, jax.random.key(0), X)
    kernels = nnx.to_pure_dict(nnx.state(nnx_host(sj.attention_fn("softmax"))))
    return host, shapes["params"], kernels


def values(normalizer, learned=None):
    """What a module made of this normalizer computes with at first, by name."""
    made = nn.LearnedNormalizer(normalizer, heads=HEADS, learned=learned)()
    return {name: getattr(made, name) for name in settable(made)}


def test_the_nnx_module_is_part_of_its_host():
    host = nnx_host(nn.LearnedAttentionFn(sj.SSMax(scale=SCALES), heads=HEADS))
    (stored,) = jax.tree.leaves(nnx.state(host, nn.NormalizerParam))
    assert stored.shape == (HEADS,) and stored.dtype == jnp.float32
    fixed = nnx_host(AttentionFn(sj.SSMax(scale=SCALES)))
    np.testing.assert_allclose(host(X, mask=CAUSAL), fixed(X, mask=CAUSAL), atol=1e-6)

    @nnx.grad
    def gradient(host):
        return (host(X, mask=CAUSAL) ** 2).sum()

    gradients = gradient(host)
    of_scale = np.asarray(gradients["attention_fn"]["normalizer"]["scale"][...])
    assert of_scale.shape == (HEADS,) and of_scale.all()
    assert set(gradients) == {"attention_fn", "key", "out", "query", "value"}


def test_the_linen_module_is_part_of_its_host():
    learned = nn.LinenLearnedAttentionFn(sj.SSMax(scale=SCALES))
    host, shapes, params = linen_host(learned)
    assert shapes["attention_fn"]["scale"].shape == (HEADS,)
    assert shapes["attention_fn"]["scale"].dtype == jnp.float32
    initial = nn.LearnedNormalizer(sj.SSMax(scale=SCALES), heads=HEADS).scale[...]
    own = {"attention_fn": {"scale": initial}}

    def loss(own):
        output = host.apply({"params": params | own}, X, mask=CAUSAL)
        return (output**2).sum(), output

    gradient, output = jax.grad(loss, has_aux=True)(own)
    fixed = nnx_host(AttentionFn(sj.SSMax(scale=SCALES)))
    np.testing.assert_allclose(output, fixed(X, mask=CAUSAL), atol=1e-6)
    assert np.asarray(gradient["attention_fn"]["scale"]).all()


def test_linen_is_told_the_same_keywords():
    of_module = inspect.signature(nn.LinenLearnedAttentionFn("ssmax")).parameters
    of_function = inspect.signature(sj.attention_fn("ssmax")).parameters
    assert list(of_module) == list(of_function)


@pytest.mark.parametrize(
    ("normalizer", "learned", "expected"),
    [
        ("ssmax(scale=0.43, bias=0.2)", None, dict(scale=[0.43, 0.43], bias=0.2)),
        ("ssmax(bias=0.2)", ("bias",), dict(scale=0.168, bias=[0.2, 0.2])),
        ("ssmax", (), dict(scale=0.168, bias=0.0)),
        ("softmax(temperature=0.3)", None, dict(temperature=0.3)),
        ("softmax(temperature=0.3)", ("temperature",), dict(temperature=[0.3, 0.3])),
        ("entmax", ("alpha",), dict(alpha=[1.5, 1.5])),
        (
            sj.Entmax(alpha=jnp.asarray([1.01, 40.0])),
            ("alpha",),
            dict(alpha=[1.01, 40]),
        ),
        ("softmax1(sink=-1.0)", None, dict(sink=[-1.0, -1.0])),
        ("sparsemax", None, {}),
    ],
)
def test_initial_values_are_those_of_the_instance(normalizer, learned, expected):
    got = values(normalizer, learned)
    assert got.keys() == expected.keys()
    for name, value in expected.items():
        assert jnp.shape(got[name]) == np.shape(value)
        np.testing.assert_allclose(got[name], value, rtol=1e-5)


class Bounded(sj.Ratio):
    """Every kind of bounds, and a parameter that heads share."""

    share: float = sj.parameter(0.25, bounds=(0.0, 1.0))
    small: float = sj.parameter(2e-5, bounds=(1e-5, 1e-4))
    below: float = sj.parameter(-2.0, bounds=(-float("inf"), 0.0), per_head=False)

    def log_weight(self, z):
        return (self.share + self.small - self.below) * z


def test_every_kind_of_bounds_gives_the_initial_value_back():
    got = values(Bounded())
    expected = dict(share=[0.25, 0.25], small=[2e-5, 2e-5], below=-2.0)
    for name, value in expected.items():
        assert jnp.shape(got[name]) == np.shape(value)
        np.testing.assert_allclose(got[name], value, rtol=1e-5)


@pytest.mark.parametrize(
    ("normalizer", "learned"),
    [
        ("entmax", ("alpha",)),
        ("softmax", ("temperature",)),
        (Bounded(), ("share", "small", "below")),
    ],
)
@pytest.mark.parametrize("update", [-1e4, 1e4])
def test_no_update_leaves_the_bounds(normalizer, learned, update):
    module = nn.LearnedNormalizer(normalizer, heads=HEADS, learned=learned)
    for name in learned:
        stored = getattr(module, name)
        stored[...] = stored[...] + update
    made = module()
    declared = type(made).__dataclass_fields__
    for name in learned:
        low, high = declared[name].metadata["parameter"].bounds
        value = getattr(made, name)
        assert (low < value).all() and (value < high).all()


def test_weights_at_the_edge_of_the_bounds_are_finite():
    z = jnp.linspace(-3.0, 3.0, 2 * HEADS).reshape(2, HEADS)
    for name, learned in (("entmax", "alpha"), ("softmax", "temperature")):
        module = nn.LearnedNormalizer(name, heads=HEADS, learned=(learned,))
        getattr(module, learned)[...] = jnp.full(HEADS, -1e4)
        np.testing.assert_allclose(module()(z, axis=0).sum(0), 1, atol=1e-3)


@pytest.mark.parametrize(
    ("normalizer", "learned", "sentence"),
    [
        ("ssmax", ("sclae",), "no parameter 'sclae' to learn; it has scale, bias"),
        ("sparsemax", ("alpha",), "no parameter 'alpha' to learn; it has none"),
        (sj.SSMax(bias=SCALES), None, "bias is an array and would not be learned"),
        (sj.SSMax(scale=np.ones(2)), (), "scale is an array and would not be"),
        (sj.SSMax(scale=jnp.ones(3)), None, r"have shape \(2,\), got shape \(3,\)"),
        (
            sj.Entmax(alpha=jnp.asarray([0.5, 2])),
            ("alpha",),
            "alpha must lie strictly between 1.001 and inf",
        ),
        ("softmax(temperature=1e-4)", ("temperature",), "between 0.001 and inf"),
    ],
)
def test_what_cannot_be_learned_is_refused(normalizer, learned, sentence):
    with pytest.raises(sj.UserError, match=sentence):
        nn.LearnedNormalizer(normalizer, heads=HEADS, learned=learned)
    host = linen.MultiHeadDotProductAttention(
        HEADS, attention_fn=nn.LinenLearnedAttentionFn(normalizer, learned)
    )
    with pytest.raises(sj.UserError, match=sentence):
        jax.eval_shape(host.init, jax.random.key(0), X)


def test_values_inside_a_traced_function_are_taken():
    @jax.jit
    def stored(scale):
        normalizer = sj.Entmax(alpha=scale)
        module = nn.LearnedNormalizer(normalizer, heads=HEADS, learned=("alpha",))
        return module().alpha

    np.testing.assert_allclose(stored(SCALES + 1), SCALES + 1, rtol=1e-5)


def test_equal_modules_have_equal_definitions():
    first, second = (
        nnx.graphdef(nn.LearnedNormalizer(sj.SSMax(scale=SCALES), heads=HEADS))
        for _ in range(2)
    )
    assert first == second and hash(first) == hash(second)
