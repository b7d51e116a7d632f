"""A memory beside the output layer: its joint probability, and how to align it.

Scores [..., queries, slots] are `cache_scores` of hidden states; every slot stands for
a token. Logits are [..., queries, vocabulary], labels [..., queries]; a query whose
label is negative is ignored and costs 0.

TRIME, arXiv 2205.12674; HistAlign, arXiv 2305.04782, and its release.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from softmax_jax.normalizers import rows
from softmax_jax.normalizers.base import compute_dtype

Logits = Float[Array, "*b t v"]
Scores = Float[Array, "*b t s"]
Labels = Int[Array, "*b t"]
PerQuery = Float[Array, "*b t"]


class Memory(NamedTuple):
    """The token of every slot, and which query may see which slot."""

    tokens: Int[Array, "*b s"]
    visible: Bool[Array, "*b t s"]


def decoder_memory(
    targets: Int[Array, "*b t"], where: Bool[Array, "*b t"] | None = None
) -> Memory:
    """Slot i holds the state at i and the token after it; query t sees i < t.

    `targets` is what follows each position; where `where` is False nothing is stored.
    """
    length = targets.shape[-1]
    earlier = jnp.tril(jnp.ones((length, length), bool), -1)
    return Memory(targets, _shown(targets, where, earlier))


def encoder_memory(
    sources: Int[Array, "*b s"],
    queries: int,
    where: Bool[Array, "*b s"] | None = None,
) -> Memory:
    """Slots hold the states of an encoder and its tokens; every query sees them all."""
    everywhere = jnp.ones((queries, sources.shape[-1]), bool)
    return Memory(sources, _shown(sources, where, everywhere))


def _shown(tokens: Array, where: Array | None, visible: Array) -> Array:
    stored = jnp.ones(tokens.shape, bool) if where is None else where
    shape = (1,) * (tokens.ndim - 1) + visible.shape
    return stored[..., None, :] & visible.reshape(shape)


def cache_scores(
    queries: Float[Array, "*b t d"], keys: Float[Array, "*b s d"]
) -> Scores:
    """h . h' / sqrt(d), in float32 or wider."""
    dtype = compute_dtype(queries.dtype)
    found = jnp.einsum(
        "...td,...sd->...ts", queries, keys, preferred_element_type=dtype
    )
    return found / queries.shape[-1] ** 0.5


def trime_loss(
    logits: Logits, scores: Scores, memory: Memory, labels: Labels
) -> PerQuery:
    """-log P(y), P(w) ~ exp(z_w) + sum of exp(s_i) over visible slots i of token w.

    Layer and memory share one normalizer. An empty memory leaves the cross-entropy.
    """
    z, clipped, _ = _counted(logits, labels)
    label = jnp.take_along_axis(z, clipped[..., None], axis=-1)[..., 0]
    return joint_loss(jax.nn.logsumexp(z, axis=-1), label, scores, memory, labels)


def joint_loss(
    mass: PerQuery, label: PerQuery, scores: Scores, memory: Memory, labels: Labels
) -> PerQuery:
    """`trime_loss` from log sum_w e^z_w and z at the label, which is all it needs."""
    counted = labels >= 0
    visible = memory.visible & counted[..., None]
    s = rows.hide(scores.astype(mass.dtype), visible)
    match = visible & _holds(memory, labels)
    whole = _together(mass[..., None], s, visible)
    return jnp.where(counted, whole - _together(label[..., None], s, match), 0)


def _together(first: Array, s: Array, where: Array) -> Array:
    """log(e^first + sum of e^s where it says); never the logarithm of nothing."""
    always = jnp.ones(first.shape, bool)
    whole = jnp.concatenate([first, s], axis=-1)
    shown = jnp.concatenate([always, jnp.broadcast_to(where, s.shape)], axis=-1)
    return jax.nn.logsumexp(whole, axis=-1, where=shown)


def joint_log_probabilities(logits: Logits, scores: Scores, memory: Memory) -> Logits:
    """log P of `trime_loss`, for every token of the vocabulary."""
    z = logits.astype(compute_dtype(logits.dtype))
    s = rows.hide(scores.astype(z.dtype), memory.visible)
    mass = jax.nn.logsumexp(z, axis=-1, keepdims=True)
    whole = _together(mass, s, memory.visible)[..., None]
    return jnp.logaddexp(z, _log_sums(s, memory, z.shape[-1])) - whole


def cache_log_probabilities(scores: Scores, memory: Memory, vocabulary: int) -> Logits:
    """log P of the memory alone; -inf for tokens that are not in it."""
    s = rows.hide(scores.astype(compute_dtype(scores.dtype)), memory.visible)
    sums = _log_sums(s, memory, vocabulary)
    whole = jax.nn.logsumexp(s, axis=-1, keepdims=True, where=memory.visible)
    return jnp.where(sums == -jnp.inf, sums, sums - whole)


def _log_sums(s: Array, memory: Memory, vocabulary: int) -> Array:
    """log of the sum of e^s over the visible slots of each token, -inf without any."""
    top = rows.maximum(s, memory.visible)
    weights = rows.hide(jnp.exp(rows.hide(s - top, memory.visible)), memory.visible)
    batch, (queries, slots) = s.shape[:-2], s.shape[-2:]
    shape = (*batch, slots)
    sums = jax.vmap(lambda w, t: jax.ops.segment_sum(w.T, t, vocabulary).T)(
        weights.reshape(-1, queries, slots),
        jnp.broadcast_to(memory.tokens, shape).reshape(-1, slots),
    )
    return top + rows.log(sums.reshape(*batch, queries, vocabulary))


def token_likeness(
    embedding: Float[Array, "v d"], labels: Labels, tokens: Int[Array, "*b s"]
) -> Scores:
    """The cosine of the embeddings of each label and each slot's token; no gradient."""
    table = jax.lax.stop_gradient(embedding)
    norm = jnp.linalg.norm(table, axis=-1, keepdims=True)
    table = jnp.where(norm == 0, 0, table / jnp.where(norm == 0, 1, norm))
    pair = table[jnp.maximum(labels, 0)], table[tokens]
    return jnp.einsum("...td,...sd->...ts", *pair)


def alignment_loss(
    scores: Scores,
    memory: Memory,
    labels: Labels,
    likeness: Scores,
    *,
    margin: float = 1e-3,
) -> PerQuery:
    """sum over positives i, negatives j of max(0, (j - i) margin - (s_i - s_j)).

    i and j are ranks among the visible slots: those that hold the label come first,
    they are the positives, the others by falling `likeness`. Only pairs of a positive
    and a negative count; the order among negatives sets the margins. A query without
    such a pair costs 0.

    arXiv 2305.04782, equation 5. Takes as much memory as the scores, and a pass over
    them for every slot.
    """
    total, _ = _by_offset(scores, memory, labels, likeness, margin)
    return total.sum(0)


def alignment_loss_release(
    scores: Scores,
    memory: Memory,
    labels: Labels,
    likeness: Scores,
    *,
    margin: float = 1e-3,
) -> PerQuery:
    """`alignment_loss` as the authors' code has it: means in the place of the sum.

    The mean over the pairs of equal j - i, and of these the mean.
    """
    total, count = _by_offset(scores, memory, labels, likeness, margin)
    means = total / jnp.maximum(count, 1)
    return means.sum(0) / jnp.maximum((count > 0).sum(0), 1).astype(means.dtype)


def _by_offset(
    scores: Array, memory: Memory, labels: Array, likeness: Array, margin: float
) -> tuple[Array, Array]:
    """Hinges summed over pairs by j - i = 1, 2, ..., and how many: [offsets, *b, t]."""
    s = scores.astype(compute_dtype(scores.dtype))
    counted = labels >= 0
    visible = jnp.broadcast_to(memory.visible & counted[..., None], s.shape)
    positive = visible & _holds(memory, labels)
    closeness = jnp.where(positive, jnp.inf, rows.hide(likeness, visible, -jnp.inf))
    order = jnp.argsort(closeness, axis=-1, stable=True, descending=True)
    s, visible, positive = (
        jnp.take_along_axis(x, order, axis=-1)
        for x in (rows.hide(s, visible), visible, positive)
    )
    n = s.shape[-1]

    @jax.checkpoint
    def step(_: None, offset: Array) -> tuple[None, tuple[Array, Array]]:
        after, shown = (_moved(x, offset) for x in (s, visible & ~positive))
        pair = positive & shown
        hinge = jax.nn.relu(offset.astype(s.dtype) * margin - (s - after))
        return None, (rows.hide(hinge, pair).sum(-1), pair.sum(-1, dtype=s.dtype))

    _, found = jax.lax.scan(step, None, jnp.arange(1, n))
    return found


def _moved(x: Array, offset: Array) -> Array:
    """x from `offset` on, filled up with zeros."""
    wider = jnp.concatenate([x, jnp.zeros_like(x)], axis=-1)
    return jax.lax.dynamic_slice_in_dim(wider, offset, x.shape[-1], axis=-1)


def histalign_loss(
    logits: Logits,
    scores: Scores,
    memory: Memory,
    labels: Labels,
    likeness: Scores,
    *,
    margin: float = 1e-3,
    weight: float = 1.0,
) -> PerQuery:
    """Cross-entropy of the logits + weight `alignment_loss`: the paper's total."""
    z, clipped, counted = _counted(logits, labels)
    picked = jnp.take_along_axis(z, clipped[..., None], axis=-1)[..., 0]
    entropy = jnp.where(counted, jax.nn.logsumexp(z, axis=-1) - picked, 0)
    return entropy + weight * alignment_loss(
        scores, memory, labels, likeness, margin=margin
    )


def histalign_loss_release(
    logits: Logits,
    scores: Scores,
    memory: Memory,
    labels: Labels,
    likeness: Scores,
    *,
    margin: float = 1e-3,
    weight: float = 1.0,
) -> PerQuery:
    """`trime_loss` + weight `alignment_loss_release`: the total of the release."""
    ranking = alignment_loss_release(scores, memory, labels, likeness, margin=margin)
    return trime_loss(logits, scores, memory, labels) + weight * ranking


def _counted(logits: Array, labels: Array) -> tuple[Array, Array, Array]:
    """Logits of queries that are not ignored, labels that can be looked up, which."""
    counted = labels >= 0
    z = logits.astype(compute_dtype(logits.dtype))
    return rows.hide(z, counted[..., None]), jnp.maximum(labels, 0), counted


def _holds(memory: Memory, labels: Array) -> Array:
    """Whether the slot's token is the query's label."""
    return memory.tokens[..., None, :] == labels[..., :, None]
