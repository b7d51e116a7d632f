"""`attention_fn` for the stock attention modules of Flax, Linen and NNX.

Linen hands over only the keywords that a function names, and drops the others without
a word; NNX hands over all of its own. So every keyword of both is named here, and is
honoured or refused. `softmax_jax.nn` has the modules with learned parameters.
"""

import dataclasses
import numbers
from typing import Any

import jax.numpy as jnp
from jax import Array

from softmax_jax.attention.api import dot_product_attention
from softmax_jax.catalogue import parse, parse_query_scale
from softmax_jax.errors import UserError
from softmax_jax.normalizers.base import Normalizer
from softmax_jax.normalizers.parameters import Parametrised, declared_parameters
from softmax_jax.query_scales.base import QueryScale


def attention_fn(
    normalizer: str | Normalizer,
    *,
    query_scale: str | QueryScale | None = None,
    implementation: str | None = None,
    logits_soft_cap: float | None = None,
) -> "AttentionFn":
    """An `attention_fn` for `flax.nnx` or `flax.linen` multi-head attention.

    Hashable and equal to any other made of the same arguments, so that a module which
    holds it is traced once. Queries that see nothing get zeros, where Flax's own
    function returns the mean of all values. `is_causal` puts the last query at the last
    key, where that of NNX puts the first at the first: they differ if lengths do.
    """
    normalizer = parse(normalizer)
    if query_scale is not None:
        query_scale = parse_query_scale(query_scale)
    for owner in (normalizer, query_scale):
        if owner is not None and array_parameters(owner):
            raise UserError(
                f"attention_fn takes numbers for parameters, got an array in "
                f"{type(owner).__name__}; use softmax_jax.nn.LearnedAttentionFn for it"
            )
    return AttentionFn(normalizer, query_scale, implementation, logits_soft_cap)


@dataclasses.dataclass(frozen=True)
class AttentionFn:
    """See `attention_fn`."""

    normalizer: Normalizer
    query_scale: QueryScale | None = None
    implementation: str | None = None
    logits_soft_cap: float | None = None

    def __call__(
        self,
        query: Array,
        key: Array,
        value: Array,
        bias: Array | None = None,
        mask: Array | None = None,
        broadcast_dropout: bool = True,
        dropout_rng: Array | None = None,
        dropout_rate: float = 0.0,
        deterministic: bool = False,
        dtype: Any = None,
        precision: Any = None,
        module: Any = None,
        is_causal: bool = False,
        force_fp32_for_softmax: bool = True,
        einsum_dot_general: Any = None,
        qk_attn_weights_einsum: Any = None,
        attn_weights_value_einsum: Any = None,
    ) -> Array:
        """[batch..., T, H, V] of the host's operands [batch..., T, H, D].

        Weights are always computed in float32 or wider, whatever
        `force_fp32_for_softmax` says. A `module` asks for the weights to be sown in it.
        """
        refuse(
            dropout=dropout_rate > 0 and not deterministic,
            precision=precision is not None,
            einsum_dot_general=einsum_dot_general is not None,
            qk_attn_weights_einsum=qk_attn_weights_einsum is not None,
            attn_weights_value_einsum=attn_weights_value_einsum is not None,
        )
        if dtype is not None:
            query, key, value = (x.astype(dtype) for x in (query, key, value))
        batch = query.shape[:-3]

        def flat(array: Array) -> Array:
            """The batch axes as one; an axis of size 1 in all of them stays 1."""
            if array.ndim <= 2:
                return array
            lead = array.shape[:-3]
            if any(size != 1 for size in lead):
                array = jnp.broadcast_to(array, (*batch, *array.shape[-3:]))
            return array.reshape(-1, *array.shape[-3:])

        attended = dot_product_attention(
            flat(query),
            flat(key),
            flat(value),
            return_weights=module is not None,
            bias=None if bias is None else flat(bias),
            mask=None if mask is None else flat(mask.astype(bool)),
            normalizer=self.normalizer,
            query_scale=self.query_scale,
            is_causal=is_causal,
            logits_soft_cap=self.logits_soft_cap,
            implementation=self.implementation,
        )
        output, weights = attended if isinstance(attended, tuple) else (attended, None)
        if weights is not None:
            _sow(module, weights.reshape(*batch, *weights.shape[1:]))
        return output.reshape(*batch, *output.shape[1:])


def array_parameters(owner: Parametrised) -> list[str]:
    """The parameters that hold an array, which makes their owner unhashable."""
    return [
        name
        for name in declared_parameters(owner)
        if not isinstance(getattr(owner, name), numbers.Real)
    ]


def refuse(**asked: bool) -> None:
    """Raises for the first modifier that was asked for and cannot be honoured."""
    for name, is_asked in asked.items():
        if is_asked:
            raise NotImplementedError(f"softmax_jax attention does not support {name}")


def _sow(module: Any, weights: Array) -> None:
    """Leaves the weights in the host module, where its own function leaves them."""
    from flax import linen, nnx

    kind = "intermediates" if isinstance(module, linen.Module) else nnx.Intermediate
    module.sow(kind, "attention_weights", weights)
