"""What holds on every path: planted garbage, empty rows, dtypes, memory, choice."""

import itertools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import softmax_jax as sj
from softmax_jax.attention import chunked

pytestmark = pytest.mark.core

BOTH = pytest.mark.parametrize("implementation", ["reference", "chunked"])
B, T, H, D = 2, 6, 2, 4


def operands(dtype=jnp.float32):
    rng = np.random.default_rng(0)
    return [jnp.asarray(rng.normal(size=(B, T, H, D)), dtype) for _ in range(3)]


def value_and_grads(q, k, v, normalizer, **keywords):
    """Output, and gradients of a loss on it to q, k, v and the parameters."""

    def loss(q, k, v, normalizer):
        o = sj.dot_product_attention(q, k, v, normalizer=normalizer, **keywords)
        return (jnp.where(jnp.isnan(o), 0, o) ** 2).sum(), o

    gradient = jax.jit(jax.value_and_grad(loss, (0, 1, 2, 3), has_aux=True))
    arrays = jax.tree.map(jnp.asarray, normalizer)
    (_, output), gradients = gradient(q, k, v, arrays)
    return output, gradients


# One row per family by default; every row on both paths with -m slow.
PROMPT = [(name, "reference") for name in ("ssmax", "entmax", "sigmoid")] + [
    ("ssmax", "chunked")
]
GARBAGE = [
    pytest.param(*case, marks=[] if case in PROMPT else pytest.mark.slow)
    for case in itertools.product(sj.CATALOGUE, ["reference", "chunked"])
]


@pytest.mark.parametrize(("name", "implementation"), GARBAGE)
def test_garbage_that_nothing_sees_changes_nothing(name, implementation):
    q, k, v = operands()
    lengths = jnp.asarray([4, 6], jnp.int32)
    keywords = dict(
        query_seq_lengths=lengths,
        key_value_seq_lengths=lengths,
        is_causal=True,
        logits_soft_cap=5.0,
        implementation=implementation,
    )
    normalizer = sj.CATALOGUE[name].cls()
    clean = value_and_grads(q, k, v, normalizer, **keywords)
    for junk in (jnp.nan, jnp.inf, 3e38):
        planted = [x.at[0, 4:].set(junk) for x in (q, k, v)]
        dirty = value_and_grads(*planted, normalizer, **keywords)
        for a, b in zip(jax.tree.leaves(dirty), jax.tree.leaves(clean), strict=True):
            np.testing.assert_array_equal(a, b)
    output, (dq, dk, dv, _) = clean
    for x in (output, dq, dk, dv):
        assert not x[0, 4:].any() and x[0, :4].any()


@BOTH
def test_a_bias_of_minus_infinity_is_a_mask_and_is_not_counted(implementation):
    q, k, v = operands()
    mask = jnp.asarray(np.random.default_rng(1).random((B, H, T, T)) < 0.5)
    mask = mask.at[0, 0, 2].set(False)
    options = dict(normalizer="ssmax", implementation=implementation)
    masked = sj.dot_product_attention(q, k, v, mask=mask, **options)
    bias = jnp.where(mask, 0.0, -jnp.inf)
    biased = sj.dot_product_attention(q, k, v, bias, **options)
    np.testing.assert_allclose(biased, masked, atol=1e-6)
    assert not masked[0, 2, 0].any()


@BOTH
def test_a_visible_nan_shows(implementation):
    q, k, v = operands()
    o = sj.dot_product_attention(
        q,
        k.at[0, 1].set(jnp.nan),
        v,
        normalizer="sparsemax",
        implementation=implementation,
    )
    assert jnp.isnan(o[0]).all() and not jnp.isnan(o[1]).any()


@BOTH
@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
def test_half_precision_is_computed_in_float32(dtype, implementation):
    q, k, v = operands(dtype)
    wide = [x.astype(jnp.float32) for x in (q, k, v)]
    options = dict(normalizer="ssmax", is_causal=True, implementation=implementation)
    got = sj.dot_product_attention(q, k, v, **options)
    assert got.dtype == dtype
    expected = sj.dot_product_attention(*wide, **options).astype(dtype)
    np.testing.assert_allclose(
        got.astype(jnp.float32), expected.astype(jnp.float32), rtol=0.01, atol=1e-6
    )


def test_weights_are_those_of_the_function():
    q, k, v = operands()
    output, weights = sj.dot_product_attention(
        q, k, v, normalizer="entmax15", return_weights=True
    )
    scores = jnp.einsum("bthd,bshd->bhts", q, k) / np.sqrt(D)
    np.testing.assert_allclose(weights, sj.entmax15(scores), atol=1e-6)
    np.testing.assert_allclose(
        output, jnp.einsum("bhts,bshd->bthd", weights, v), atol=1e-6
    )


def test_parameters_per_head_and_per_query():
    q, k, v = operands()
    scale = jnp.asarray([0.3, 1.2])
    per_head = sj.dot_product_attention(q, k, v, normalizer=sj.SSMax(scale=scale))
    for h in range(H):
        alone = sj.dot_product_attention(
            *(x[:, :, h : h + 1] for x in (q, k, v)),
            normalizer=sj.SSMax(scale=scale[h]),
        )
        np.testing.assert_allclose(per_head[:, :, h : h + 1], alone, atol=1e-6)
    sink = jnp.linspace(-1, 2, T)[None, :, None]
    per_query = sj.dot_product_attention(q, k, v, normalizer=sj.Softmax1(sink=sink))
    alone = sj.dot_product_attention(
        q[:, 2:3], k, v, normalizer=sj.Softmax1(sink=sink[0, 2, 0])
    )
    np.testing.assert_allclose(per_query[:, 2:3], alone, atol=1e-6)


def test_chunked_memory_grows_linearly():
    def temporary(t, implementation):
        x = jax.ShapeDtypeStruct((1, t, 2, 16), jnp.float32)

        def loss(q, k, v):
            return sj.dot_product_attention(
                q, k, v, is_causal=True, implementation=implementation
            ).sum()

        compiled = jax.jit(jax.grad(loss, (0, 1, 2))).lower(x, x, x).compile()
        return compiled.memory_analysis().temp_size_in_bytes

    assert temporary(4096, "chunked") < 2.5 * temporary(2048, "chunked")
    assert temporary(2048, "chunked") < temporary(2048, "reference") / 8


@pytest.mark.parametrize("normalizer", ["entmax15", "sparse_softmax(k=3)"])
def test_the_backward_pass_searches_no_row_again(normalizer):
    def attend(q, k, v):
        return sj.dot_product_attention(
            q, k, v, normalizer=normalizer, implementation="chunked"
        )

    def searches(f):
        return str(jax.make_jaxpr(f)(*operands())).count("while[")

    forward = searches(attend)
    assert forward > 0
    assert searches(lambda *x: jax.vjp(attend, *x)[1](x[0])) == forward


@pytest.mark.parametrize(
    ("causal", "window", "share"),
    [(False, None, 1.0), (True, None, 0.625), (True, (chunked.BLOCK, 0), 0.3)],
)
def test_keys_ruled_out_are_never_computed(causal, window, share):
    t, bands = 16 * chunked.BLOCK, chunked.MAX_BANDS if causal else 1
    x = jax.ShapeDtypeStruct((1, t, 1, 64), jnp.float32)

    def attend(q, k, v):
        return sj.dot_product_attention(
            q,
            k,
            v,
            is_causal=causal,
            local_window_size=window,
            implementation="chunked",
        )

    text = jax.jit(attend).lower(x, x, x).as_text()
    # Scores are [BLOCK, keys]: each band of queries has one such product.
    products = [line for line in text.splitlines() if "dot_general" in line]
    shapes = [re.search(r"-> tensor<(\d+)x(\d+)xf32>", line) for line in products]
    keys = [int(shape[2]) for shape in shapes if shape and int(shape[2]) != 64]
    assert len(keys) == bands
    assert sum(keys) / bands <= share * t
