"""ASEntmax's query scale, read off every token."""

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from softmax_jax.query_scales.length import AdaptiveLength

RANGE = 2.0


class AdaptiveScale(nnx.Module):
    """c = 1 + beta (log n)^gamma, beta = softplus(w.x), gamma = 2 tanh(v.x), per head.

    arXiv 2506.16640, with the constants of the authors' code.
    """

    def __init__(self, width: int, heads: int, *, rngs: nnx.Rngs):
        self.beta = nnx.Linear(width, heads, use_bias=False, rngs=rngs)
        self.gamma = nnx.Linear(width, heads, use_bias=False, rngs=rngs)

    def __call__(self, x: Float[Array, "b t w"]) -> AdaptiveLength:
        """The scale of the tokens x, in float32."""
        beta, gamma = (f(x).astype(jnp.float32) for f in (self.beta, self.gamma))
        return AdaptiveLength(
            delta=1.0, beta=jax.nn.softplus(beta), gamma=RANGE * jnp.tanh(gamma)
        )
