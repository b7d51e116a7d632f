"""What is known of every row of attention beside its output."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from softmax_jax.normalizers import rows
from softmax_jax.normalizers.base import Level, Normalizer, Ratio, Threshold
from softmax_jax.normalizers.rows import Rows, Visible


class Statistics(NamedTuple):
    """One number per query and head, [B, H, T], in float32 or wider.

    Attributes:
      lse: log of the mass of a ratio, its constant included; the log-sum-exp of the
        scores for softmax, -inf for a row without mass, None for the other families.
        Differentiable.
      tau: the threshold of a threshold normalizer, among the scores that it compares
        with it (entmax15 halves them first); None for the others. Differentiable.
      row_max: the largest visible score before any multiplier, 0 where there is none;
        for clipping queries and keys. Not differentiable.
      support_size: how many keys have a weight above 0. Not differentiable.
      visible_count: how many keys the query sees. Not differentiable.
    """

    lse: Array | None
    tau: Array | None
    row_max: Array
    support_size: Array
    visible_count: Array


def statistics(
    normalizer: Normalizer,
    level: Level,
    scores: Rows,
    visible: Visible,
    weights: Rows,
) -> Statistics:
    """The statistics of rows of scores along the last axis, which is dropped."""
    lse = tau = None
    if isinstance(normalizer, Ratio):
        lse = level.top + rows.log(level.unknown)
    if isinstance(normalizer, Threshold):
        tau = level.top + level.unknown
    weights, scores = jax.lax.stop_gradient((weights, scores))
    seen = jnp.ones_like(scores)
    wide = Statistics(
        lse=lse,
        tau=tau,
        row_max=rows.maximum(scores, visible),
        support_size=rows.total((weights > 0).astype(scores.dtype), None),
        visible_count=rows.total(seen, visible),
    )
    shape = (*scores.shape[:-1], 1)
    return jax.tree.map(lambda x: jnp.broadcast_to(x, shape)[..., 0], wide)
