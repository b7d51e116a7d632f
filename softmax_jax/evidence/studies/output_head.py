"""The heads that the studies of the softmax bottleneck compare, made of one kind."""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax import Array

from softmax_jax.analysis.rank import rank_report
from softmax_jax.heads import mixture_cross_entropy, mixture_log_probabilities
from softmax_jax.losses import linear_cross_entropy


class Given(NamedTuple):
    """What each component is given, the logits of its prior, and the classes."""

    latents: Array | np.ndarray  # [..., K, width]
    prior: Array | np.ndarray  # [..., K]
    weight: Array | np.ndarray  # [classes, width]
    bias: Array | np.ndarray  # [classes]


class OutputHead(nnx.Module):
    """x to log-probabilities of `classes` through `width` numbers.

    `components` None is one layer, softmax(link(W P x + b)); a number is a mixture of
    as many of W tanh(U_k x + c_k) + b, with the prior softmax(Q x): MoS, and MoSS with
    the link sigsoftmax. Where x has as many `inputs` as `width`, there is no P. b
    starts at 0; `bias` says whether it is learned. Heads drawn from the same `rngs`
    share W.
    """

    def __init__(
        self,
        inputs: int,
        width: int,
        classes: int,
        link: str = "softmax",
        components: int | None = None,
        *,
        bias: bool = False,
        spread: float = 1.0,
        rngs: nnx.Rngs,
    ):
        self.link, self.shape = link, (components or 1, width)
        draw = nnx.initializers.normal(spread / width**0.5)
        self.weight = nnx.Param(draw(rngs.params(), (classes, width)))
        self.bias = nnx.Param(jnp.zeros(classes)) if bias else None
        narrow = latent = prior = None
        if components is not None:
            latent = nnx.Linear(inputs, components * width, rngs=rngs)
            prior = nnx.Linear(inputs, components, use_bias=False, rngs=rngs)
        elif inputs != width:
            narrow = nnx.Linear(inputs, width, use_bias=False, rngs=rngs)
        self.narrow, self.latent, self.prior = narrow, latent, prior

    def latents(self, x: Array) -> tuple[Array, Array]:
        """What each component is given, [..., K, width], and its prior's logits."""
        if self.latent is None or self.prior is None:
            x = x if self.narrow is None else self.narrow(x)
            return x[..., None, :], jnp.zeros((*x.shape[:-1], 1), x.dtype)
        shape = (*x.shape[:-1], *self.shape)
        return jnp.tanh(self.latent(x)).reshape(shape), self.prior(x)

    def losses(self, x: Array, labels: Array) -> Array:
        """-log p(label), one per row of x."""
        given = self.given(x)
        classes = (given.weight, labels, given.bias)
        if self.latent is None:
            states = given.latents[..., 0, :]
            return linear_cross_entropy(states, *classes, link=self.link)
        mixed = given.latents, given.prior
        return mixture_cross_entropy(*mixed, *classes, link=self.link)

    def given(self, x: Array) -> Given:
        """What `mixture_log_probabilities` is given for x."""
        weight = self.weight[...]
        bias = jnp.zeros(len(weight)) if self.bias is None else self.bias[...]
        return Given(*self.latents(x), weight, bias)


def in_float64(given: Given, link: str) -> np.ndarray:
    """log p of every class from these numbers in float64, whose rank is no rounding."""
    wide = [np.asarray(array, np.float64) for array in given]
    with jax.enable_x64(True):
        found = mixture_log_probabilities(*map(jnp.asarray, wide), link=link)
        return np.asarray(found)


def rank_metrics(
    matrix: np.ndarray, width: int, bias: bool = False
) -> dict[str, float]:
    """Measures of log-probabilities; softmax's rank is at most width + 1, or + 2.

    `beyond` is by how much the strict rank exceeds that; `tail_energy` is what lies
    there, whose logarithm is cut off at -40.
    """
    report = rank_report(matrix, width, bias=bias)
    return {
        "beyond": float(report.strict - width - 1 - bias),
        "relative_rank": float(report.relative),
        "tail_energy": report.tail_energy,
        "log10_tail_energy": math.log10(max(report.tail_energy, 1e-40)),
    }


def shifted(given: Given, shift: Array) -> Given:
    """With `shift` [..., 1] added to all logits of a row, of every component.

    It is one more number of the context, whose weight is 1 for every class.
    """
    wide = jnp.broadcast_to(shift[..., None], (*given.latents.shape[:-1], 1))
    return given._replace(
        latents=jnp.concatenate([given.latents, wide], axis=-1),
        weight=jnp.pad(given.weight, ((0, 0), (0, 1)), constant_values=1),
    )
