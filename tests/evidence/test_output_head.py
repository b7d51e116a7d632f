"""Heads of the studies of the bottleneck: one matrix, exact ranks, the same losses."""

import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from softmax_jax.evidence.studies.output_head import (
    OutputHead,
    in_float64,
    rank_metrics,
    shifted,
)

X = jnp.asarray(np.random.default_rng(0).normal(size=(40, 6)), jnp.float32)


def head(link: str = "softmax", components: int | None = None) -> OutputHead:
    made = OutputHead(6, 3, 30, link, components, bias=True, rngs=nnx.Rngs(0))
    made.bias = nnx.Param(jnp.linspace(-1.0, 1.0, 30))
    return made


def by_hand(made: OutputHead, link: str) -> np.ndarray:
    """log sum_k pi_k softmax(phi(W latent_k + b)), in numpy."""
    latents, prior, weight, bias = (np.asarray(a, np.float64) for a in made.given(X))
    z = latents @ weight.T + bias
    u = 2 * z - np.logaddexp(0, z) if link == "sigsoftmax" else z
    p = np.exp(u) / np.exp(u).sum(-1, keepdims=True)
    pi = np.exp(prior) / np.exp(prior).sum(-1, keepdims=True)
    return np.log((pi[..., None] * p).sum(1))


@pytest.mark.parametrize("components", [None, 2])
@pytest.mark.parametrize("link", ["softmax", "sigsoftmax"])
def test_losses_and_probabilities_are_those_of_the_formula(
    link: str, components: int | None
) -> None:
    made = head(link, components)
    log_p = by_hand(made, link)
    np.testing.assert_allclose(in_float64(made.given(X), link), log_p, atol=1e-12)
    labels = jnp.arange(40) % 30
    expected = -log_p[np.arange(40), np.asarray(labels)]
    np.testing.assert_allclose(made.losses(X, labels), expected, rtol=1e-5)


def test_only_softmax_keeps_to_its_bound() -> None:
    """Width 3 and a bias: rank 5 of at most 30."""
    found = {
        (link, k): rank_metrics(in_float64(head(link, k).given(X), link), 3, True)
        for link, k in (("softmax", None), ("sigsoftmax", None), ("softmax", 2))
    }
    softmax = found.pop(("softmax", None))
    assert softmax["beyond"] == 0 and softmax["tail_energy"] < 1e-28
    for measured in found.values():
        assert measured["beyond"] > 0 and measured["tail_energy"] > 1e-8


def test_a_shift_moves_every_logit_of_a_row() -> None:
    """So it changes nothing of softmax, and makes sigsoftmax of it in the limit."""
    given = head().given(X)
    more = shifted(given, jnp.full((40, 1), 25.0))
    softmax = in_float64(given, "softmax")
    np.testing.assert_allclose(in_float64(more, "softmax"), softmax, atol=1e-12)
    np.testing.assert_allclose(in_float64(more, "sigsoftmax"), softmax, atol=1e-8)
    assert np.abs(in_float64(given, "sigsoftmax") - softmax).max() > 0.1


def test_heads_of_one_seed_share_their_classes() -> None:
    weights = [head(components=k).weight[...] for k in (None, 1, 3)]
    assert all((weight == weights[0]).all() for weight in weights)
