"""The output link: an elementwise map of the logits, before their softmax."""

import jax
import jax.numpy as jnp
from jax import Array

from softmax_jax.catalogue import parse
from softmax_jax.errors import UserError
from softmax_jax.nn.learned import LearnedNormalizer
from softmax_jax.normalizers.base import Normalizer, Ratio


class OutputLink(LearnedNormalizer):
    """log w of a ratio: the softmax of what it returns is that ratio of the logits.

    The loss and the sampling of a model then need not know of it. Only rows that are a
    softmax of mapped scores serve: sigsoftmax, logistic_softmax, multimax, softmax.
    """

    def __init__(self, normalizer: str | Normalizer):
        normalizer = parse(normalizer)
        if not _is_softmax_of_mapped_scores(type(normalizer)):
            raise UserError(
                "link must be a softmax of mapped scores, such as multimax or "
                f"sigsoftmax, got {type(normalizer).__name__}"
            )
        super().__init__(normalizer, heads=1)

    def map(self, logits: Array) -> Array:
        """log w(logits), of any shape."""
        one = (1,) * logits.ndim
        link = jax.tree.map(lambda leaf: jnp.reshape(leaf, one), self())
        return link.log_weight(logits)


def _is_softmax_of_mapped_scores(cls: type[Normalizer]) -> bool:
    extras = ("factor", "mass_factor", "log_constant", "multiplier", "rows")
    return issubclass(cls, Ratio) and all(
        getattr(cls, extra) is getattr(Ratio, extra) for extra in extras
    )
