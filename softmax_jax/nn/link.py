"""The output link: an elementwise map of the logits, before their softmax."""

from typing import Any

from jax import Array

from softmax_jax.losses.links import PLIF, for_tiles, parse_link
from softmax_jax.nn.learned import LearnedNormalizer
from softmax_jax.normalizers.base import Normalizer


class OutputLink(LearnedNormalizer):
    """log w of a ratio: the softmax of what it returns is that ratio of the logits.

    The loss and the sampling of a model then need not know of it. Only rows that are a
    softmax of mapped scores serve: sigsoftmax, logistic_softmax, multimax, softmax.
    """

    def __init__(self, normalizer: str | Normalizer):
        link = parse_link(normalizer)
        super().__init__(link, heads=link.intervals if isinstance(link, PLIF) else 1)

    def map(self, logits: Array) -> Array:
        """log w(logits), of any shape."""
        link: Any = self()
        return for_tiles(link, logits.dtype).log_weight(logits)
