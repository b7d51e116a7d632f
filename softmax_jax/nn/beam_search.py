"""Beam search over any cached step, in fixed shapes under jit."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from softmax_jax.errors import UserError

Caches = Any
# (tokens [N], their position, caches) to (logits [N, V], caches).
Step = Callable[[Array, Array, Caches], tuple[Array, Caches]]


class Beams(NamedTuple):
    """The best hypotheses of every example, best first.

    Tokens [B, beams, length] are filled up with `end`; scores are -inf where there were
    fewer hypotheses than beams.
    """

    tokens: Array
    scores: Array


class _Search(NamedTuple):
    """A search after `count` tokens: what goes on, and what has ended."""

    count: Array
    last: Array
    alive: Beams
    ended: Beams
    caches: Caches


def beam_search(
    step: Step,
    caches: Caches,
    first: Int[Array, " b"],
    *,
    beams: int,
    length: int,
    end: int,
    position: int = 0,
    length_penalty: float = 0.6,
) -> Beams:
    """Hypotheses of the greatest log p(y) / ((5 + |y|) / 6)^length_penalty.

    A hypothesis ends with the token `end` or has `length` tokens. In every step the
    best `beams` continuations are kept: those that end leave room for others in the
    next step, and are never lost to worse ones. With one beam this is greedy search.
    The search stops when nothing can be improved. Wu et al., arXiv 1609.08144, eq. 14.

    Args:
      step: the model; it is given `first` at `position`, then what was chosen.
      caches: a pytree whose leaves begin with an axis of B * beams, the beams of one
        example next to one another; they follow the hypotheses.
    """
    _check(beams, length, length_penalty)
    batch = first.shape[0]
    nothing = jnp.full((batch, beams, length), end, first.dtype)
    none = jnp.full((batch, beams), -jnp.inf)
    search = _Search(
        count=jnp.int32(0),
        last=jnp.repeat(first, beams),
        alive=Beams(nothing, none.at[:, 0].set(0)),
        ended=Beams(nothing, none),
        caches=caches,
    )

    def penalty(count: Array | int) -> Array:
        return ((jnp.float32(count) + 5) / 6) ** length_penalty

    def improvable(search: _Search) -> Array:
        # log p only falls from here, and no penalty is greater than the last.
        hope = search.alive.scores.max(-1) / penalty(length)
        return (search.count < length) & (hope > search.ended.scores.min(-1)).any()

    def advance(search: _Search) -> _Search:
        logits, caches = step(search.last, position + search.count, search.caches)
        alive, parent, token = _continuations(search.alive, logits, search.count)
        count = search.count + 1
        over = token == end
        scores = jnp.where(over, alive.scores / penalty(count), -jnp.inf)
        return _Search(
            count=count,
            last=token.reshape(-1),
            alive=Beams(alive.tokens, jnp.where(over, -jnp.inf, alive.scores)),
            ended=_best(search.ended, Beams(alive.tokens, scores)),
            caches=_reordered(caches, parent),
        )

    search = jax.lax.while_loop(improvable, advance, search)
    # If there are fewer tokens, what is alive is worse than all that has ended.
    whole = search.alive.scores / penalty(length)
    return _best(search.ended, Beams(search.alive.tokens, whole))


def _check(beams: int, length: int, length_penalty: float) -> None:
    for name, value in {"beams": beams, "length": length}.items():
        if value < 1:
            raise UserError(f"{name} must be at least 1, got {value}")
    if length_penalty < 0:
        raise UserError(f"length_penalty must not be negative, got {length_penalty}")


def _continuations(
    alive: Beams, logits: Float[Array, "n v"], count: Array
) -> tuple[Beams, Array, Array]:
    """The best continuations by one token, their parents and tokens [B, beams]."""
    batch, beams = alive.scores.shape
    log_p = jax.nn.log_softmax(logits.astype(jnp.float32))
    vocabulary = log_p.shape[-1]
    total = alive.scores[..., None] + log_p.reshape(batch, beams, vocabulary)
    scores, index = jax.lax.top_k(total.reshape(batch, -1), beams)
    parent, token = jnp.divmod(index, vocabulary)
    token = token.astype(alive.tokens.dtype)
    tokens = jnp.take_along_axis(alive.tokens, parent[..., None], axis=1)
    return Beams(tokens.at[:, :, count].set(token), scores), parent, token


def _best(one: Beams, other: Beams) -> Beams:
    """The best of both, as many as each has."""
    tokens = jnp.concatenate([one.tokens, other.tokens], axis=1)
    scores = jnp.concatenate([one.scores, other.scores], axis=1)
    scores, index = jax.lax.top_k(scores, one.scores.shape[1])
    return Beams(jnp.take_along_axis(tokens, index[..., None], axis=1), scores)


def _reordered(caches: Caches, parent: Int[Array, "b k"]) -> Caches:
    """Every beam with the cache of its parent."""
    batch, beams = parent.shape
    first = beams * jnp.arange(batch, dtype=parent.dtype)
    index = (first[:, None] + parent).reshape(-1)
    return jax.tree.map(lambda leaf: jnp.take(leaf, index, axis=0), caches)
