"""What is handed to cuDNN, by XLA in its place, and what is refused by name."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import softmax_jax as sj
from softmax_jax.attention.kernels.mosaic_gpu import cudnn


def qkv(*, t=24, heads=4, kv_heads=2, dtype=jnp.bfloat16):
    keys = jax.random.split(jax.random.key(0), 3)
    shapes = (1, t, heads, 16), (1, t, kv_heads, 16), (1, t, kv_heads, 16)
    return [
        jax.random.normal(key, shape, jnp.float32).astype(dtype)
        for key, shape in zip(keys, shapes, strict=True)
    ]


@pytest.fixture
def by_xla(monkeypatch):
    """A GPU, as far as anyone asks, and XLA in the place of cuDNN."""
    attend = jax.nn.dot_product_attention

    def stand_in(*args, implementation, **options):
        assert implementation == "cudnn"
        with jax.numpy_dtype_promotion("standard"):
            return attend(*args, implementation="xla", **options)

    monkeypatch.setattr(jax.nn, "dot_product_attention", stand_in)
    monkeypatch.setattr(cudnn, "platform", lambda: "gpu")
    yield
    jax.clear_caches()


@pytest.mark.parametrize(
    ("normalizer", "options"),
    [
        ("softmax", {}),
        ("softmax(temperature=0.7)", dict(is_causal=True)),
        ("ssmax", dict(is_causal=True)),
        ("softmax", dict(is_causal=True, local_window_size=(5, 0))),
        ("softmax", dict(is_causal=True, query_scale="log_length(scale=0.43)")),
        ("softmax", dict(query_scale="key_lengths")),
    ],
)
def test_softmax_after_a_query_multiplier(by_xla, normalizer, options):
    def run(implementation, q, k, v):
        return sj.dot_product_attention(
            q, k, v, normalizer=normalizer, implementation=implementation, **options
        )

    operands = qkv()
    found = run("cudnn", *operands)
    exact = [x.astype(jnp.float32) for x in operands]
    expected = run("reference", *exact)
    assert found.dtype == jnp.bfloat16
    np.testing.assert_allclose(
        np.asarray(found, np.float32), expected, atol=4e-2, rtol=2e-2
    )


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (dict(normalizer="sigsoftmax"), "which Sigsoftmax is not"),
        (dict(normalizer="softmax1"), "which Softmax1 is not"),
        (dict(normalizer="sigmoid"), "which Sigmoid is not"),
        (dict(logits_soft_cap=5.0), "has no logits_soft_cap"),
        (dict(bias=jnp.zeros((24, 24))), "no other mask, bias"),
        (dict(is_causal=True, query_offset=3), "got query_offset=3"),
        (dict(local_window_size=3), r"windows to the left, got \(3, 3\)"),
        (dict(return_stats=True), "cudnn gives no statistics of rows"),
        ({}, "needs an NVIDIA GPU and jax"),
    ],
)
def test_everything_else_is_refused_by_name(options, sentence):
    call = functools.partial(sj.dot_product_attention, implementation="cudnn")
    with pytest.raises(NotImplementedError, match=sentence):
        call(*qkv(), **options)


def test_float32_is_refused():
    with pytest.raises(NotImplementedError, match="bfloat16 and float16, got float32"):
        sj.dot_product_attention(*qkv(dtype=jnp.float32), implementation="cudnn")
