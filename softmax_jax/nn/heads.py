"""What heads have that are more than a matrix: parameters, and a memory."""

import dataclasses

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Int

from softmax_jax.losses.histalign import Memory


class MixtureLatents(nnx.Module):
    """tanh(U_k h + c_k) for each component k, and the logits Q h of their prior.

    Yang et al., https://arxiv.org/abs/1711.03953.
    """

    def __init__(
        self, width: int, components: int, *, dtype: str = "float32", rngs: nnx.Rngs
    ):
        self.components = components
        kind = jnp.dtype(dtype)
        self.latent = nnx.Linear(width, components * width, dtype=kind, rngs=rngs)
        self.prior = nnx.Linear(
            width, components, use_bias=False, dtype=kind, rngs=rngs
        )

    def __call__(
        self, x: Float[Array, "*b w"]
    ) -> tuple[Float[Array, "*b k w"], Float[Array, "*b k"]]:
        shape = (*x.shape[:-1], self.components, x.shape[-1])
        return jnp.tanh(self.latent(x)).reshape(shape), self.prior(x)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class StateCache:
    """States [B, capacity, W] and the tokens read there, written up to a position."""

    states: Array
    tokens: Array

    def write(self, states: Array, tokens: Array, start: Array | int) -> "StateCache":
        """With the new states and tokens written at position `start`."""

        def put(old: Array, new: Array) -> Array:
            new = new.astype(old.dtype)
            return jax.lax.dynamic_update_slice_in_dim(old, new, start, 1)

        return StateCache(put(self.states, states), put(self.tokens, tokens))

    def memory(
        self, start: Array | int, queries: int, segments: Array | None = None
    ) -> Memory:
        """What queries at `start` and on see: earlier states, and the tokens after."""
        batch, capacity = self.tokens.shape
        position = start + jnp.arange(queries)[:, None]
        earlier = jnp.arange(capacity)[None] < position
        visible = jnp.broadcast_to(earlier[None], (batch, queries, capacity))
        following = jnp.roll(self.tokens, -1, axis=1)
        return segmented(Memory(following, visible), segments)


def segmented(memory: Memory, segments: Int[Array, "b t"] | None) -> Memory:
    """The memory of each document alone, where `segments` tells them apart."""
    if segments is None:
        return memory
    own = segments[:, :, None] == segments[:, None, :]
    return memory._replace(visible=memory.visible & own)
