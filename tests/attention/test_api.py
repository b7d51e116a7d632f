"""The choice of an implementation, and one sentence for every wrong argument."""

import logging

import jax.numpy as jnp
import jaxtyping
import numpy as np
import pytest

import softmax_jax as sj

pytestmark = pytest.mark.core


@pytest.fixture(autouse=True)
def without_type_checks(monkeypatch):
    """As a user calls it: shapes in types are checked in tests only."""
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)


X = jnp.zeros((2, 4, 2, 8))


def attention(query=X, key=X, value=X, *arguments, **keywords):
    return sj.dot_product_attention(query, key, value, *arguments, **keywords)


def test_weights_cannot_come_from_chunked():
    with pytest.raises(NotImplementedError, match="chunked never holds the weights"):
        attention(implementation="chunked", return_weights=True)


def test_only_a_sequence_or_none_falls_back_and_says_so(caplog):
    with caplog.at_level(logging.DEBUG, logger="softmax_jax"):
        attention(implementation=("chunked", "reference"), return_weights=True)
    assert "implementation reference; passed over: ['chunked never" in caplog.text
    with caplog.at_level(logging.DEBUG, logger="softmax_jax"):
        long = jnp.zeros((1, 1025, 1, 1))
        attention(long, long, long)
    assert "implementation chunked" in caplog.text


@pytest.mark.parametrize(
    ("keywords", "sentence"),
    [
        (dict(implementation="flash"), "among .*, mosaic_tpu, got 'flash'"),
        (
            dict(key=X[:, :, :1].repeat(3, 2)),
            "key and value must share length and heads",
        ),
        (dict(key=X[:1]), "must share the batch"),
        (dict(key=X[..., :4]), "must share the last axis"),
        (dict(query=X[:, :, :1], key=X, value=X), "multiple of key heads, got 1 and 2"),
        (dict(query=X.astype(jnp.bfloat16)), "share one floating dtype"),
        (dict(mask=jnp.ones((2, 4, 4), bool)), r"mask must be \[B, H, T, S\]"),
        (dict(mask=jnp.ones((4, 4))), "mask must be boolean, got float32"),
        (dict(bias=jnp.ones((2, 2, 4, 5))), r"bias must be \[B, H, T, S\]"),
        (dict(query_seq_lengths=jnp.ones(3, int)), "query_seq_lengths must hold one"),
        (dict(segment_ids=jnp.ones((2, 5), int)), "segment_ids must be"),
        (dict(query_offset=jnp.ones(3, int)), "query_offset must be one integer"),
        (dict(local_window_size=-1), "must not be negative"),
        (dict(normalizer=sj.SSMax(scale=jnp.ones(3))), "does not broadcast against"),
        (dict(normalizer="softmx"), "nearest: softmax"),
    ],
)
def test_a_wrong_argument_gets_one_sentence(keywords, sentence):
    operands = {name: X for name in ("query", "key", "value")}
    with pytest.raises(sj.UserError, match=sentence):
        sj.dot_product_attention(**(operands | keywords))


def test_two_axes_of_a_mask_are_queries_and_keys():
    rng = np.random.default_rng(0)
    q, k, v = (jnp.asarray(rng.normal(size=X.shape), jnp.float32) for _ in range(3))
    lower = jnp.tril(jnp.ones((4, 4), bool))
    np.testing.assert_allclose(
        attention(q, k, v, None, lower), attention(q, k, v, is_causal=True), atol=1e-6
    )
