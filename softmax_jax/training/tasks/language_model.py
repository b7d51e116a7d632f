"""A decoder that predicts the next token of a text."""

import math
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import grain
import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.sharding import PartitionSpec

from softmax_jax.attention.partition import Partition
from softmax_jax.data import batches, mixing, packing, text
from softmax_jax.data.batches import Share, whole
from softmax_jax.data.packing import PackedBatch
from softmax_jax.errors import UserError
from softmax_jax.nn import Transformer
from softmax_jax.training.config import RunConfig, filled_in
from softmax_jax.training.tasks import base

# Classes from which on logits are computed twice rather than held; below, both passes
# of the loss over them cost more time than their memory is worth.
LARGE = 4096


class Objective(base.Objective):
    """-log p(tokens[:, t + 1] | tokens[:, :t + 1]), within a document if packed."""

    def model(self, rngs: nnx.Rngs) -> Transformer:
        return Transformer(self.config.model, rngs=rngs)

    def sums(
        self,
        model: Transformer,
        batch: base.Batch,  # tokens, or a PackedBatch
        partition: Partition | None,
        smoothing: float = 0.0,
    ) -> base.Sums:
        packed = isinstance(batch, PackedBatch)
        tokens = batch.tokens if packed else batch
        inputs = base.placed(partition, tokens[:, :-1])
        targets = base.placed(partition, tokens[:, 1:])
        counted, own = jnp.ones(targets.shape, bool), None
        if packed:
            counted = base.placed(partition, packing.predicted(batch.segment_ids))
            own = base.placed(partition, batch.segment_ids[:, :-1])
        states, _ = model.states(inputs, segment_ids=own, partition=partition)
        if self.config.model.head is None and self.config.model.vocabulary < LARGE:
            losses = base.cross_entropy(model.logits(states), targets, smoothing)
        else:
            split = self._split(partition)
            losses = model.losses(
                states, targets, segment_ids=own, label_smoothing=smoothing, **split
            )
        return {"loss": losses.sum(where=counted), "count": counted.sum()}

    def _split(self, partition: Partition | None) -> dict[str, Any]:
        """How states and classes lie on the mesh."""
        if partition is None:
            return {}
        tokens = PartitionSpec(partition.batch, partition.sequence)
        return {"tokens": tokens, "vocabulary": self.config.mesh.rules.vocabulary}

    def shapes(self) -> base.Batch:
        training, data = self.config.training, self.config.data
        shape = (training.batch_size, training.sequence_length + 1)
        tokens: Any = jax.ShapeDtypeStruct(shape, jnp.int32)
        return PackedBatch(tokens, tokens, tokens) if data.packed else tokens

    def shown(self, means: base.Means) -> base.Means:
        """In nats and in bits per token, so per byte for bytes."""
        return means | {"bits": means["loss"] / math.log(2)}


class Windows(base.Data):
    """Windows of one text, or of several in given shares."""

    def __init__(self, config: RunConfig, corpus: text.Corpus):
        super().__init__(filled_in(config, vocabulary=corpus.vocabulary))
        self.corpus, self._training = corpus, config.training
        self._weights = config.data.weights or tuple(map(len, corpus.sources))

    def training(self, share: Share = whole) -> grain.DatasetIterator:
        training = self._training
        shape = (training.sequence_length, training.batch_size, training.seed)
        sources = self.corpus.sources
        if len(sources) == 1:
            return batches.train_batches(self.corpus.train, *shape, share)
        return mixing.mixed_batches(sources, self._weights, *shape, share)

    def validation(self) -> Iterator[np.ndarray]:
        training = self._training
        return batches.evaluation_batches(
            self.corpus.validation,
            training.sequence_length,
            training.batch_size,
            training.eval_batches,
        )


class Documents(base.Data):
    """Rows of whole documents; none sees another."""

    def __init__(self, config: RunConfig, documents: text.Documents):
        super().__init__(filled_in(config, vocabulary=documents.codec.size))
        self.documents, self._training = documents, config.training

    def training(self, share: Share = whole) -> grain.DatasetIterator:
        return self._packed(self.documents.train, self._training.seed, share)

    def validation(self) -> Iterator[PackedBatch]:
        found = self._packed(self.documents.validation, 0)
        return islice(found, self._training.eval_batches)

    def _packed(
        self, documents: Any, seed: int, share: Share = whole
    ) -> grain.DatasetIterator:
        training = self._training
        return packing.packed_batches(
            documents,
            self.documents.codec.encode,
            training.sequence_length,
            training.batch_size,
            seed,
            share,
        )


def load(config: RunConfig, folder: Path) -> base.Data:
    """The text of a run; nothing is kept in its folder."""
    if config.training.sequence_length < 1:
        raise UserError(
            "training.sequence_length must be at least 1 for a language model, got "
            f"{config.training.sequence_length}."
        )
    if config.data.packed:
        return Documents(config, text.documents(config.data))
    return Windows(config, text.load(config.data))
