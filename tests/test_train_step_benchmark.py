"""The plain Transformer of the benchmark is ours, and the race is a table."""

import types
from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from benchmarks import plain_transformer as plain
from benchmarks import train_step
from softmax_jax.nn import Transformer, TransformerConfig
from softmax_jax.training.state import to_named

SIZE = {"vocabulary": 7, "layers": 1, "width": 8, "heads": 2}
SHAPE = {"batch_size": 2, "sequence_length": 4}


@pytest.fixture(autouse=True)
def as_people_write() -> Iterator[None]:
    """The plain model lets jax.numpy broadcast, as most do."""
    with jax.numpy_rank_promotion("allow"), jax.numpy_dtype_promotion("standard"):
        yield


def test_the_plain_model_is_ours():
    config = TransformerConfig(**SIZE)
    model = Transformer(config, rngs=nnx.Rngs(0))
    tokens = jnp.asarray([[3, 1, 4, 1, 5], [2, 6, 5, 3, 5]], jnp.int32)
    params = to_named(nnx.state(model, nnx.Param))
    found = jax.jit(lambda params: plain.logits(params, tokens, config))(params)
    np.testing.assert_allclose(found, nnx.jit(model)(tokens), rtol=1e-5, atol=1e-5)


@pytest.mark.slow
def test_the_race_is_a_table_of_three():
    (table,) = train_step.tables(size=SIZE, shape=SHAPE, rounds=1)
    names = ["plain jax.numpy", "softmax_jax softmax", "softmax_jax ssmax"]
    assert list(table.columns[0].cells) == names
    assert list(table.columns[3].cells)[0] == "peer"


def test_what_is_not_the_same_is_not_raced():
    one, same, other = (
        types.SimpleNamespace(name=name, step=lambda tokens, loss=loss: loss)
        for name, loss in {"one": 2.0, "same": 2.00001, "other": 2.0001}.items()
    )
    train_step.check_same(one, same, [None])
    with pytest.raises(ValueError, match="one and other differ"):
        train_step.check_same(one, other, [None])


def test_tokens_are_of_the_vocabulary():
    tokens = np.asarray(train_step.draw_tokens(SIZE, SHAPE))
    assert tokens.shape == (3, 2, 5) and tokens.min() == 0 and tokens.max() == 6
