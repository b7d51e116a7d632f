"""Training on fixed rows goes down, by the same road for the same seed."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from softmax_jax.evidence.studies import supervised
from softmax_jax.optim import OptimizerConfig


@dataclass(frozen=True)
class Settings:
    steps: int = 250
    batch_size: int = 8
    optimizer: OptimizerConfig = OptimizerConfig(learning_rate=0.05, warmup=10)


def objective(config: Settings, model: nnx.Linear, batch: dict) -> jax.Array:
    return jnp.square(model(batch["x"])[:, 0] - batch["y"]).mean()


def train(seed: int) -> tuple[list[tuple[int, float]], np.ndarray]:
    x = jax.random.normal(jax.random.key(0), (64, 3))
    rows = {"x": x, "y": x @ jnp.array([1.0, -2.0, 0.5])}
    model = nnx.Linear(3, 1, rngs=nnx.Rngs(0))
    seen = []
    for step, loss in supervised.train(objective, Settings(), model, rows, seed, ""):
        seen.append((step, loss))
    return seen, np.asarray(model.kernel[...])


def test_a_line_is_learned_in_chunks() -> None:
    seen, kernel = train(0)
    assert [step for step, _ in seen] == [100, 200, 250]
    assert seen[-1][1] < 0.05 < seen[0][1]
    np.testing.assert_allclose(kernel[:, 0], [1.0, -2.0, 0.5], atol=0.2)


def test_the_seed_draws_the_batches() -> None:
    (first, _), (again, _), (other, _) = train(0), train(0), train(1)
    assert first == again
    assert first != other
