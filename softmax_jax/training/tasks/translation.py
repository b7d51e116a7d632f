"""An encoder-decoder that translates sentences."""

from collections.abc import Callable, Iterator, Sequence
from importlib import import_module
from itertools import chain, islice
from pathlib import Path
from typing import Any

import grain
import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from softmax_jax.attention.partition import Partition
from softmax_jax.data import buckets, pairs
from softmax_jax.data.batches import Share, whole
from softmax_jax.data.buckets import PairBatch
from softmax_jax.data.subwords import END, MOST_LINES, Subwords
from softmax_jax.errors import UserError
from softmax_jax.nn import EncoderDecoder, translate
from softmax_jax.training.config import RunConfig, filled_in
from softmax_jax.training.progress import progress_bar
from softmax_jax.training.tasks import base

BUCKETS = 3  # lengths L, L / 2, L / 4: as many shapes are compiled
BEAMS = 4


class Objective(base.Objective):
    """-log p(next target token | source, target so far), padding not counted."""

    def model(self, rngs: nnx.Rngs) -> EncoderDecoder:
        return EncoderDecoder(self.config.model, rngs=rngs)

    def sums(
        self,
        model: EncoderDecoder,
        batch: PairBatch,
        partition: Partition | None,
        smoothing: float = 0.0,
    ) -> base.Sums:
        counted = jnp.asarray(batch.target_visible)
        logits = model.run(
            jnp.asarray(batch.source),
            jnp.asarray(batch.inputs),
            source_lengths=jnp.asarray(batch.source_visible).sum(-1),
            partition=partition,
        ).logits
        targets = jnp.asarray(batch.targets)
        losses = base.cross_entropy(logits, targets, smoothing)
        right = (logits.argmax(-1) == targets) & counted
        return {
            "loss": losses.sum(where=counted),
            "accuracy": right.sum(),
            "count": counted.sum(),
        }

    def shapes(self) -> Any:
        training = self.config.training
        shape = (training.batch_size, training.sequence_length)
        tokens: Any = jax.ShapeDtypeStruct(shape, jnp.int32)
        visible: Any = jax.ShapeDtypeStruct(shape, jnp.bool_)
        return PairBatch(tokens, visible, tokens, tokens, visible)


class Data(base.Data):
    """Sentence pairs by length; the test part is translated after the last step."""

    def __init__(self, config: RunConfig, text: pairs.ParallelText, codec: Subwords):
        super().__init__(filled_in(config, vocabulary=codec.size))
        self.text, self.codec, self._training = text, codec, config.training

    def training(self, share: Share = whole) -> grain.DatasetIterator:
        training = self._training
        rows, length = training.batch_size, training.sequence_length
        return buckets.bucketed_batches(
            self._fitting(self.text.train),
            [length >> halvings for halvings in reversed(range(BUCKETS))],
            rows * length,
            END,
            training.seed,
            multiple_of=rows,
            share=share,
        )

    def validation(self) -> Iterator[PairBatch]:
        """Pairs that fit, shortest first; the last batch is filled up."""
        training = self._training
        rows, length = training.batch_size, training.sequence_length
        fitting = sorted(self._fitting(self.text.validation), key=_needed)
        # Evenly from all lengths, if there are more than are looked at.
        step = max(1, -(-len(fitting) // (rows * training.eval_batches)))
        chosen = fitting[::step]
        for start in range(0, len(chosen), rows):
            part = chosen[start : start + rows]
            yield _filled(buckets.padded(part, length, END), rows)

    def judge(
        self, model: Any, evaluate: Callable[[Iterator[PairBatch]], base.Means]
    ) -> base.Means:
        """BLEU and chrF of the test part by sacrebleu, from beam search."""
        kept = [pair for pair in self.text.test if self._fitting([pair])]
        said = self.translated(model, [source for source, _ in kept])
        true = [[target for _, target in kept]]
        sacrebleu = import_module("sacrebleu")
        return {
            "test_bleu": float(sacrebleu.corpus_bleu(said, true).score),
            "test_chrf": float(sacrebleu.corpus_chrf(said, true).score),
            "test_sentences": len(kept),
        }

    def translated(self, model: EncoderDecoder, sentences: Sequence[str]) -> list[str]:
        """The best translations that beam search finds."""
        training = self._training
        rows, length = training.batch_size, training.sequence_length
        encoded = [self.codec.encode(sentence)[:length] for sentence in sentences]
        order = sorted(range(len(encoded)), key=lambda i: len(encoded[i]))
        found: dict[int, str] = {}
        with progress_bar(len(order), "translating") as bar:
            for start in range(0, len(order), rows):
                numbers = order[start : start + rows]
                part = [(encoded[i], encoded[i][:0]) for i in numbers]
                batch = _filled(buckets.padded(part, length, END), rows)
                lengths = batch.source_visible.sum(-1).astype(np.int32)
                tokens = translate(
                    model,
                    jnp.asarray(batch.source),
                    start=END,
                    end=END,
                    length=length,
                    source_lengths=jnp.asarray(lengths),
                    beams=BEAMS,
                ).tokens[:, 0]
                for i, row in zip(numbers, np.asarray(tokens), strict=False):
                    found[i] = self.codec.decode(row)
                bar.update(len(numbers))
        return [found[i] for i in range(len(encoded))]

    def _fitting(self, part: pairs.Pairs) -> list[buckets.Encoded]:
        """The encoded pairs that are no longer than a sequence."""
        encoded = [tuple(map(self.codec.encode, pair)) for pair in part]
        most = self._training.sequence_length
        return [(x, y) for x, y in encoded if _needed((x, y)) <= most]


def load(config: RunConfig, folder: Path) -> Data:
    """The pairs of a run; their subwords are learned once and kept in its folder."""
    training, data = config.training, config.data
    least = 1 << (BUCKETS - 1)
    if training.sequence_length < least or training.sequence_length % least:
        raise UserError(
            f"training.sequence_length must be a positive multiple of {least} for a "
            f"translation, got {training.sequence_length}."
        )
    text = pairs.load(data)
    learned_of = chain.from_iterable(islice(text.train, MOST_LINES))
    path = folder / "subwords.model"
    return Data(config, text, Subwords.kept(path, learned_of, data.vocabulary))


def _needed(pair: buckets.Encoded) -> int:
    """The length of the bucket that a pair needs: the target has an end."""
    source, target = pair
    return max(len(source), len(target) + 1)


def _filled(batch: PairBatch, rows: int) -> PairBatch:
    """With empty rows behind, in which nothing is visible."""
    absent = rows - len(batch.source)
    return PairBatch(*(np.pad(x, ((0, absent), (0, 0))) for x in batch))
