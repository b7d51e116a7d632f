"""What is done to the output of attention, between the values and the projection."""

import jax
import jax.numpy as jnp
from flax import nnx
from jax import Array
from jaxtyping import Float

from softmax_jax.errors import UserError
from softmax_jax.normalizers.base import compute_dtype

EPS = 1e-8


class OutputRMSNorm(nnx.Module):
    """y = g * o / sqrt(mean(o^2) + eps), with one mean over all heads together.

    o is [..., heads, head_width] with heads * head_width = width, as attention leaves
    it; so is y, in the dtype of o. It is computed in at least float32. g starts at 1.
    A row of zeros stays zero, so attention that attends to nothing says nothing.

    The mean over all heads keeps a head that is nearly off nearly off: a mean per head
    would bring each to the same size.
    """

    def __init__(self, width: int, *, rngs: nnx.Rngs):
        self.width = width
        self.scale = nnx.Param(self._initial_scale(rngs))

    def _initial_scale(self, rngs: nnx.Rngs) -> Array:
        return jnp.ones(self.width)

    def __call__(self, o: Float[Array, "*b h d"]) -> Float[Array, "*b h d"]:
        if o.shape[-2] * o.shape[-1] != self.width:
            raise UserError(
                f"{type(self).__name__} of width {self.width} takes [..., heads, "
                f"head_width] of that width, got shape {o.shape}"
            )
        wide = compute_dtype(o.dtype)
        whole = o.astype(wide).reshape(*o.shape[:-2], self.width)
        return self._output(whole).reshape(o.shape).astype(o.dtype)

    def _output(self, o: Array) -> Array:
        mean = jnp.mean(o * o, axis=-1, keepdims=True)
        return _like(self.scale, o) * o * jax.lax.rsqrt(mean + EPS)


class SmallGainRMSNorm(OutputRMSNorm):
    """The same with g drawn small, between +-sqrt(3 / width): ReLA-i.

    Zhang, Titov and Sennrich, https://arxiv.org/abs/2104.07012.
    """

    def _initial_scale(self, rngs: nnx.Rngs) -> Array:
        return _small(self.width, rngs)


class GatedRMSNorm(OutputRMSNorm):
    """y = g * o / sqrt(mean(o^2) + eps) * sigmoid(w * o): ReLA-g.

    The gate sees o before it is normalized. g starts at 1, w between +-sqrt(3 / width).
    Zhang, Titov and Sennrich, https://arxiv.org/abs/2104.07012.
    """

    def __init__(self, width: int, *, rngs: nnx.Rngs):
        super().__init__(width, rngs=rngs)
        self.gate = nnx.Param(_small(width, rngs))

    def _output(self, o: Array) -> Array:
        return super()._output(o) * jax.nn.sigmoid(_like(self.gate, o) * o)


OUTPUT_NORMS = {
    "rms": OutputRMSNorm,
    "small_gain": SmallGainRMSNorm,
    "gated": GatedRMSNorm,
}


class OutputGate(nnx.Module):
    """y = o * sigmoid(x W), one gate per channel of every head.

    o is [..., heads, head_width], x the input of the attention layer, [..., width]. y
    has the dtype of o and is computed in at least float32.
    Qiu et al., https://arxiv.org/abs/2505.06708.
    """

    def __init__(self, width: int, heads: int, head_width: int, *, rngs: nnx.Rngs):
        draw = nnx.initializers.lecun_normal(in_axis=0, out_axis=(1, 2))
        self.kernel = nnx.Param(draw(rngs.params(), (width, heads, head_width)))

    def __call__(
        self, o: Float[Array, "*b h d"], x: Float[Array, "*b w"]
    ) -> Float[Array, "*b h d"]:
        wide = compute_dtype(o.dtype)
        kernel = self.kernel[...].astype(wide)
        gate = jnp.einsum("...w,whd->...hd", x.astype(wide), kernel)
        return (o.astype(wide) * jax.nn.sigmoid(gate)).astype(o.dtype)


def _small(width: int, rngs: nnx.Rngs) -> Array:
    bound = (3 / width) ** 0.5
    return jax.random.uniform(rngs.params(), (width,), minval=-bound, maxval=bound)


def _like(vector: nnx.Param, o: Array) -> Array:
    """The vector in the dtype and with the number of axes of `o`."""
    return vector[...].astype(o.dtype).reshape((1,) * (o.ndim - 1) + (-1,))
