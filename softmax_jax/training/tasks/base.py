"""What every kind of run is made of: an objective, and the data that feed it."""

import abc
from collections.abc import Callable, Iterator
from typing import Any, ClassVar

import grain
import jax
import jax.numpy as jnp
import optax
from flax import nnx
from jax.sharding import PartitionSpec
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Int, Shaped

from softmax_jax.attention.partition import Partition
from softmax_jax.data.batches import Share, whole
from softmax_jax.training.config import RunConfig
from softmax_jax.training.flops import step_flops

Batch = Any  # a pytree of arrays; examples lie along their first axis
Sums = dict[str, Array]
Means = dict[str, float]


class Objective(abc.ABC):
    """The model of a complete configuration, and what it is trained for."""

    def __init__(self, config: RunConfig):
        self.config = config

    @abc.abstractmethod
    def model(self, rngs: nnx.Rngs) -> nnx.Module:
        """The model, with fresh parameters."""

    @abc.abstractmethod
    def sums(
        self,
        model: Any,
        batch: Batch,
        partition: Partition | None,
        smoothing: float = 0.0,
    ) -> Sums:
        """Sums over what a batch counts; `loss` in nats and `count` are among them.

        The training minimizes loss / count with its label smoothing; evaluations show
        all as means, without.
        """

    @abc.abstractmethod
    def shapes(self) -> Batch:
        """The largest batch, as shapes and dtypes."""

    def flops_per_unit(self) -> float:
        """Operations of the training per token or image of a full batch."""
        training = self.config.training
        rows, length = training.batch_size, training.sequence_length
        units = rows * max(1, length)
        return step_flops(self.config.model, rows, length) / units

    def shown(self, means: Means) -> Means:
        """The means under the names, and in the units, that people look for."""
        return means


class Data(abc.ABC):
    """Batches for an objective, and the configuration with what the data decide."""

    unit: ClassVar[str] = "tokens"  # what the objective counts

    def __init__(self, config: RunConfig):
        self.config = config

    @abc.abstractmethod
    def training(self, share: Share = whole) -> grain.DatasetIterator:
        """An endless iterator of a share of every batch; its state is JSON-able."""

    @abc.abstractmethod
    def validation(self) -> Iterator[Batch]:
        """Some batches, the same at every call."""

    def judge(self, model: Any, evaluate: Callable[[Iterator[Batch]], Means]) -> Means:
        """What is measured once, after the last step, on the part kept for it."""
        return {}


def cross_entropy(
    logits: Float[Array, "*b v"], labels: Int[Array, "*b"], smoothing: float
) -> Float[Array, "*b"]:
    """-sum_v q_v log p_v with q = (1 - smoothing) [v = label] + smoothing / V."""
    logits = logits.astype(jnp.float32)
    losses = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
    if smoothing == 0:
        return losses
    uniform = jax.nn.logsumexp(logits, -1) - logits.mean(-1)
    return (1 - smoothing) * losses + smoothing * uniform


def placed(partition: Partition | None, tokens: Shaped[ArrayLike, "b t"]) -> Array:
    """A sequence of the batch where attention expects it, in the order it expects."""
    array = jnp.asarray(tokens)
    if partition is None or partition.sequence is None:
        return array
    if partition.balanced:
        order, _ = partition.order(array.shape[1])
        array = array[:, order]
    spec = PartitionSpec(partition.batch, partition.sequence)
    return jax.lax.with_sharding_constraint(array, spec)
