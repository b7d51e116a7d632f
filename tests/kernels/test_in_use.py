"""The kernels where people meet them: in `dot_product_attention` and in a model."""

import jax
import numpy as np
import optax
import pytest
from flax import nnx
from jax.experimental.pallas import tpu as pltpu

import softmax_jax as sj
from softmax_jax.attention import api
from softmax_jax.nn import Transformer, TransformerConfig


@pytest.fixture
def interpreted():
    with pltpu.force_tpu_interpret_mode():
        yield


def qkv(length=128, heads=2, width=16):
    keys = jax.random.split(jax.random.key(0), 3)
    return [jax.random.normal(key, (1, length, heads, width)) for key in keys]


def test_by_name(interpreted):
    options = dict(normalizer="softmax1", is_causal=True)
    expected, found = (
        sj.dot_product_attention(*qkv(heads=1), implementation=name, **options)
        for name in ("reference", "mosaic_tpu")
    )
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_a_sequence_passes_over_what_the_kernels_cannot_do(caplog):
    """Neither the statistics nor a row that is cut by its order."""
    names, few = ("mosaic_tpu", "chunked"), qkv(8)
    with caplog.at_level("DEBUG", "softmax_jax"):
        for options in ({"normalizer": "r_softmax"}, {"return_stats": True}):
            sj.dot_product_attention(*few, implementation=names, **options)
    assert caplog.text.count("implementation chunked; passed over: [") == 2
    with pytest.raises(NotImplementedError, match="mosaic_tpu gives no statistics"):
        sj.dot_product_attention(*few, implementation="mosaic_tpu", return_stats=True)
    with pytest.raises(NotImplementedError, match="mosaic_tpu never holds the weights"):
        sj.dot_product_attention(*few, implementation="mosaic_tpu", return_weights=True)


@pytest.mark.parametrize(
    ("backend", "large", "expected"),
    [
        ("tpu", True, ("mosaic_tpu", "chunked", "reference")),
        ("tpu", False, ("mosaic_tpu", "reference")),
        ("gpu", True, ("chunked", "reference")),
        ("cpu", False, ("reference",)),
    ],
)
def test_none_takes_the_kernels_on_a_tpu(monkeypatch, backend, large, expected):
    monkeypatch.setattr(api, "platform", lambda: backend)
    assert api._candidates(None, large) == expected


@pytest.mark.slow
def test_a_transformer_takes_the_same_steps(interpreted):
    tokens = jax.random.randint(jax.random.key(1), (1, 129), 0, 32)

    def losses(implementation):
        config = TransformerConfig(
            vocabulary=32,
            layers=2,
            width=32,
            heads=2,
            kv_heads=1,
            normalizer=("sigsoftmax", "ssmax"),
            implementation=implementation,
        )
        graph, params = nnx.split(Transformer(config, rngs=nnx.Rngs(0)), nnx.Param)
        optimizer = optax.sgd(0.5)

        @jax.jit
        def step(params, state):
            def loss(params):
                logits = nnx.merge(graph, params)(tokens[:, :-1])
                return optax.softmax_cross_entropy_with_integer_labels(
                    logits, tokens[:, 1:]
                ).mean()

            value, gradient = jax.value_and_grad(loss)(params)
            updates, state = optimizer.update(gradient, state)
            return optax.apply_updates(params, updates), state, value

        state, found = optimizer.init(params), []
        for _ in range(3):
            params, state, value = step(params, state)
            found.append(float(value))
        return found

    by_kernels, expected = losses("mosaic_tpu"), losses("reference")
    np.testing.assert_allclose(by_kernels, expected, rtol=1e-5)
    assert by_kernels[2] < by_kernels[0]
