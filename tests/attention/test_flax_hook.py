"""`attention_fn` in the stock attention modules of Linen and NNX."""

import functools
import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen, nnx

import softmax_jax as sj
from softmax_jax.attention.flax_hook import AttentionFn

pytestmark = pytest.mark.core


LEAD, T, HEADS, WIDTH = (2, 3), 5, 4, 8
X = jnp.asarray(np.random.default_rng(0).normal(size=(*LEAD, T, WIDTH)), jnp.float32)
CAUSAL = linen.make_causal_mask(X[..., 0])
LATER = X.at[..., 3:, :].add(1.0)


class NNX:
    """The stock module of `flax.nnx`, by default with its own attention."""

    def __init__(self, attention_fn=nnx.dot_product_attention, **options):
        options = dict(decode=False, rngs=nnx.Rngs(0)) | options
        self.module = nnx.MultiHeadAttention(
            HEADS, WIDTH, attention_fn=attention_fn, **options
        )

    def __call__(self, x=X, **options):
        return np.asarray(self.module(x, **options))

    def with_weights(self, x=X, **options):
        run = nnx.capture(self.module, nnx.Intermediate)
        output, sown = run(x, sow_weights=True, **options)
        return output, sown["attention_weights"][0]


class Linen:
    """The stock module of `flax.linen` with the parameters of the other one."""

    def __init__(self, attention_fn=linen.dot_product_attention, **options):
        self.module = linen.MultiHeadDotProductAttention(
            HEADS, attention_fn=attention_fn, **options
        )

    @functools.cached_property
    def variables(self):
        module = NNX(use_bias=self.module.use_bias).module
        return {"params": nnx.to_pure_dict(nnx.state(module, nnx.Param))}

    def __call__(self, x=X, **options):
        return np.asarray(self.module.apply(self.variables, x, **options))

    def with_weights(self, x=X, **options):
        output, sown = self.module.apply(
            self.variables, x, sow_weights=True, mutable=["intermediates"], **options
        )
        return output, sown["intermediates"]["attention_weights"][0]


BOTH = pytest.mark.parametrize("host", [Linen, NNX])


def close(got, expected):
    np.testing.assert_allclose(got, expected, atol=1e-5)


@BOTH
def test_softmax_is_the_host_s_own(host):
    ours, theirs = host(sj.attention_fn("softmax")), host()
    close(ours(), theirs())
    causal = ours(mask=CAUSAL)
    close(causal, theirs(mask=CAUSAL))
    assert np.abs(causal - ours())[..., 0, :].min() > 1e-4
    heads = np.random.default_rng(1).random((LEAD[1], HEADS, T, T)) < 0.6
    mask = jnp.asarray(heads | np.eye(T, dtype=bool))
    close(ours(mask=mask), theirs(mask=jnp.broadcast_to(mask, (*LEAD, HEADS, T, T))))


@BOTH
@pytest.mark.parametrize("name", ["ssmax", "sparsemax"])
def test_a_causal_mask_reaches_the_normalizer(host, name):
    run = host(sj.attention_fn(name))
    before, after = run(mask=CAUSAL), run(LATER, mask=CAUSAL)
    close(before[..., :3, :], after[..., :3, :])
    assert (before != after)[..., 3:, :].any()


def test_grouped_heads_and_is_causal_in_nnx():
    ours, theirs = (
        NNX(fn, num_kv_heads=2)
        for fn in (sj.attention_fn("softmax"), nnx.dot_product_attention)
    )
    close(ours(is_causal=True), theirs(mask=CAUSAL))
    mask = jnp.asarray(np.arange(T) != 1).reshape(1, 1, 1, 1, T)
    close(ours(mask=mask, is_causal=True), ours(mask=mask & CAUSAL.astype(bool)))


def test_is_causal_puts_the_last_query_at_the_last_key():
    run = NNX(sj.attention_fn("softmax"))
    last = X[..., -1:, :]
    close(run(last, inputs_k=X, is_causal=True), run()[..., -1:, :])


@BOTH
def test_the_cache_of_the_host_counts_only_what_is_written(host):
    full = host(sj.attention_fn("ssmax"))
    expected = full(mask=CAUSAL)
    if host is NNX:
        module = NNX(sj.attention_fn("ssmax"), decode=True).module
        module.init_cache(X.shape)
        steps = [module(X[..., i : i + 1, :]) for i in range(T)]
    else:
        module = full.module.clone(decode=True)
        shapes = jax.eval_shape(module.init, jax.random.key(0), X)
        empty = jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), shapes["cache"])
        variables = full.variables | {"cache": empty}
        steps = []
        for i in range(T):
            step, cache = module.apply(variables, X[..., i : i + 1, :], mutable="cache")
            variables |= cache
            steps.append(step)
    close(np.concatenate(steps, -2), expected)


@BOTH
def test_sown_weights_are_those_of_the_normalizer(host):
    output, weights = host(sj.attention_fn("ssmax")).with_weights(mask=CAUSAL)
    own = host()
    close(output, host(sj.attention_fn("ssmax"))(mask=CAUSAL))
    # The host's own weights are softmax of the scores: their logarithm gives the
    # scores back, but for a constant of the row, which SSMax ignores too.
    scores = jnp.log(own.with_weights()[1])
    close(weights, sj.ssmax(scores, where=CAUSAL.astype(bool)))


@BOTH
def test_a_query_that_sees_nothing_gets_zeros(host):
    run = host(sj.attention_fn("softmax"), use_bias=False)
    output = run(mask=CAUSAL.at[..., 2, :].set(0))
    assert not output[..., 2, :].any() and output[..., 1, :].all()


@BOTH
def test_a_rebuilt_host_is_not_traced_again(host):
    traced = []

    def run(module, x):
        traced.append(module.attention_fn)
        if host is NNX:
            return module(x)
        return module.apply(variables, x)

    variables = host().variables if host is Linen else None
    jitted = nnx.jit(run) if host is NNX else jax.jit(run, static_argnums=0)
    for _ in range(2):
        jitted(host(sj.attention_fn("ssmax(scale=0.3)")).module, X)
    assert len(traced) == 1
    jitted(host(sj.attention_fn("ssmax(scale=0.4)")).module, X)
    assert len(traced) == 2


def test_equal_arguments_make_equal_functions():
    make = functools.partial(sj.attention_fn, "entmax(alpha=1.3)")
    assert make() == make() and hash(make()) == hash(make())
    assert make() != make(implementation="chunked") != make(logits_soft_cap=2.0)


def test_the_other_arguments_are_handed_on():
    with pytest.raises(NotImplementedError, match="chunked never holds the weights"):
        NNX(sj.attention_fn("softmax", implementation="chunked")).with_weights()
    x = X[..., None, :]
    capped = sj.attention_fn("softmax", logits_soft_cap=0.2)(x, x, x)
    flat = x.reshape(-1, *x.shape[2:])
    got = sj.dot_product_attention(flat, flat, flat, logits_soft_cap=0.2)
    close(capped, got.reshape(x.shape))
    assert jnp.abs(capped - sj.attention_fn("softmax")(x, x, x)).max() > 1e-3


@BOTH
def test_dropout_is_refused_where_it_would_be_applied(host):
    run = host(sj.attention_fn("softmax"), dropout_rate=0.5)
    stream = {"rngs": {"dropout": jax.random.key(0)}} if host is Linen else {}
    with pytest.raises(NotImplementedError, match="dropout"):
        run(deterministic=False, **stream)
    close(run(deterministic=True), host()())


@pytest.mark.parametrize(
    "name",
    [
        "precision",
        "einsum_dot_general",
        "qk_attn_weights_einsum",
        "attn_weights_value_einsum",
    ],
)
def test_what_cannot_be_honoured_is_refused_by_name(name):
    x = X[..., None, :]
    with pytest.raises(NotImplementedError, match=name):
        sj.attention_fn("softmax")(x, x, x, **{name: "highest"})


@BOTH
def test_precision_of_the_host_is_refused(host):
    with pytest.raises(NotImplementedError, match="precision"):
        host(sj.attention_fn("softmax"), precision="highest")()


@pytest.mark.parametrize("array", [jnp.ones(HEADS), np.ones(HEADS)])
def test_an_array_for_a_parameter_is_refused(array):
    with pytest.raises(sj.UserError, match="got an array in SSMax; use .*Learned"):
        sj.attention_fn(sj.SSMax(scale=array))


def test_dtype_is_the_one_of_the_computation():
    x = X[..., None, :]
    assert sj.attention_fn("softmax")(x, x, x, dtype=jnp.float16).dtype == jnp.float16


def test_every_keyword_of_flax_is_named():
    """A keyword that a new Flax brings must be honoured or refused, not dropped."""
    named = set(inspect.signature(AttentionFn.__call__).parameters)
    # No host passes it: `dtype` says what would be promoted to.
    known = {"promote_dtype"}
    for own in (linen.dot_product_attention, nnx.dot_product_attention):
        assert set(inspect.signature(own).parameters) <= named | known
