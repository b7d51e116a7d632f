"""A Vision Transformer that names the class of an image."""

from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import grain
import jax
import jax.numpy as jnp
from flax import nnx

from softmax_jax.attention.partition import Partition
from softmax_jax.data import images
from softmax_jax.data.batches import Share, whole
from softmax_jax.data.images import Images
from softmax_jax.errors import UserError
from softmax_jax.nn import VisionTransformer
from softmax_jax.training.config import RunConfig, filled_in
from softmax_jax.training.tasks import base


class Objective(base.Objective):
    """-log p(class | image); label -1 stands for an image that is not there."""

    def model(self, rngs: nnx.Rngs) -> VisionTransformer:
        return VisionTransformer(self.config.model, rngs=rngs)

    def sums(
        self,
        model: VisionTransformer,
        batch: Images,
        partition: Partition | None,
        smoothing: float = 0.0,
    ) -> base.Sums:
        pixels, labels = batch
        counted = labels >= 0
        logits, _ = model.run(jnp.asarray(pixels), partition=partition)
        known = jnp.maximum(labels, 0)
        losses = base.cross_entropy(logits, known, smoothing)
        right = (logits.argmax(-1) == labels) & counted
        return {
            "loss": losses.sum(where=counted),
            "accuracy": right.sum(),
            "count": counted.sum(),
        }

    def shapes(self) -> Any:
        model = self.config.model
        rows, size = self.config.training.batch_size, model.image_size
        shape = (rows, size, size, model.channels)
        pixels: Any = jax.ShapeDtypeStruct(shape, jnp.float32)
        labels: Any = jax.ShapeDtypeStruct((rows,), jnp.int32)
        return Images(pixels, labels)


class Data(base.Data):
    """Labelled images; the test part is judged once, after the last step."""

    unit = "images"

    def __init__(self, config: RunConfig, parts: images.ImageParts):
        (first, *_) = images.evaluation_batches(parts.validation, 1)
        _, height, width, channels = first.images.shape
        if height != width:
            raise UserError(f"images should be square, got {height} x {width} pixels.")
        sizes = {"image_size": height, "channels": channels}
        super().__init__(filled_in(config, classes=len(parts.classes), **sizes))
        self.parts, self._training = parts, config.training

    def training(self, share: Share = whole) -> grain.DatasetIterator:
        rows, seed = self._training.batch_size, self._training.seed
        shift = self.config.data.shift
        return images.train_batches(self.parts.train, rows, seed, shift, share)

    def validation(self) -> Iterator[Images]:
        rows = self._training.batch_size
        found = images.evaluation_batches(self.parts.validation, rows)
        return islice(found, self._training.eval_batches)

    def judge(
        self, model: Any, evaluate: Callable[[Iterator[Images]], base.Means]
    ) -> base.Means:
        """Loss and accuracy on all images of the test part."""
        rows = self._training.batch_size
        found = evaluate(images.evaluation_batches(self.parts.test, rows))
        return {f"test_{name}": value for name, value in found.items()}


def load(config: RunConfig, folder: Path) -> Data:
    """The images of a run; nothing is kept in its folder."""
    return Data(config, images.load(config.data))
