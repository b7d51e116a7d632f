"""Which head a model has, in the grammar of normalizers: "mos(components=4)"."""

from typing import ClassVar, dataclass_transform

from softmax_jax.catalogue import instance_of
from softmax_jax.errors import UserError
from softmax_jax.normalizers.parameters import Parametrised


@dataclass_transform(frozen_default=True, kw_only_default=True)
class Head(Parametrised):
    """What stands on the last states. `link` maps logits; None leaves that open."""

    link: ClassVar[str | None] = None


class Mixture(Head):
    """p = sum_k pi_k p_k: a mixture of `components`, each a softmax of mapped logits.

    Component k has the logits of its own latent, W tanh(U_k h + c_k), and the prior
    pi = softmax(Q h).
    """

    components: int = 4

    def check(self) -> None:
        super().check()
        if self.components < 1:
            raise UserError(
                f"{type(self).__name__}: components must be at least 1, got "
                f"{self.components}"
            )


class MoS(Mixture):
    """A mixture of softmaxes, or of what the model's link makes of them."""

    formula = "Σₖ πₖ softmax(W tanh(Uₖh + cₖ)), π = softmax(Qh)"
    paper = "arXiv 1711.03953"


class MoSS(Mixture):
    """A mixture of sigsoftmaxes."""

    formula = "Σₖ πₖ sigsoftmax(W tanh(Uₖh + cₖ)), π = softmax(Qh)"
    paper = "arXiv 1805.10829"
    link = "sigsoftmax"


class CacheHead(Head):
    """One softmax over the classes and over the earlier states of the sequence.

    A state with the token w after it adds e^(h.h' / sqrt d) to what w has: what was
    read can be said again without a logit for it. Memory is quadratic in the length.
    """

    formula = "p_w ∝ e^(z_w) + Σᵢ [xᵢ₊₁ = w] e^(h·hᵢ/√d)"
    paper = "arXiv 2205.12674 (TRIME)"


HEADS: dict[str, type[Head]] = {"mos": MoS, "moss": MoSS, "cache": CacheHead}


def parse_head(spec: str | Head) -> Head:
    """The head that a spec string describes; an instance is returned as it is.

    >>> parse_head("mos(components=15)")
    MoS(components=15)
    """
    return instance_of(spec, "head", Head, HEADS)
