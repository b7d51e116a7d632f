"""Two steps of training, for every kind of model."""

from collections.abc import Callable

import jax
import numpy as np
import pytest
from flax import nnx


@pytest.fixture
def losses() -> Callable[..., np.ndarray]:
    """Of a model before, between and after two steps of gradient descent."""

    def train(model: nnx.Module, loss: Callable, rate: float = 0.05) -> np.ndarray:
        graphdef, params = nnx.split(model)

        @jax.jit
        def run(params):
            def step(params, _):
                value, gradient = jax.value_and_grad(
                    lambda params: loss(nnx.merge(graphdef, params))
                )(params)
                silent = jax.tree.map(lambda g: ~g.any(), gradient)
                moved = jax.tree.map(lambda p, g: p - rate * g, params, gradient)
                return moved, (value, silent)

            return jax.lax.scan(step, params, length=3)[1]

        values, silent = run(params)
        for path, always in jax.tree.leaves_with_path(silent):
            assert not always[0], f"{jax.tree_util.keystr(path)} has no gradient"
        return np.asarray(values)

    return train
