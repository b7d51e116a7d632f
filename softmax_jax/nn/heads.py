"""The parameters of heads that are more than a matrix."""

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float


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
