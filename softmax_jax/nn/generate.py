"""Sampling from a Transformer with a key-value cache."""

import functools

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Int

from softmax_jax.errors import UserError
from softmax_jax.nn.transformer import Transformer


def generate(
    model: Transformer,
    prompt: Int[Array, "b p"],
    length: int,
    *,
    key: Array,
    temperature: float = 1.0,
) -> Int[Array, "b n"]:
    """The prompt followed by `length` sampled tokens; temperature 0 is greedy.

    One pass over the prompt, then one position at a time. A cached step sees the same
    number of keys as the full pass does at that position, so every normalizer gives the
    weights it gave in training.
    """
    if prompt.shape[1] < 1 or length < 1:
        raise UserError(
            f"generate needs a prompt and a length of at least 1, got "
            f"{prompt.shape[1]} and {length}"
        )
    return _generate(*nnx.split(model), prompt, length, key, temperature)


@functools.partial(jax.jit, static_argnums=(0, 3))
def _generate(graphdef, state, prompt, length: int, key, temperature):
    model = nnx.merge(graphdef, state)
    batch, start = prompt.shape
    caches = model.empty_caches(batch, start + length)

    def sample(logits, key):
        hot = jnp.maximum(temperature, jnp.finfo(jnp.float32).tiny)
        drawn = jax.random.categorical(key, logits / hot)
        return jnp.where(temperature > 0, drawn, logits.argmax(-1)).astype(prompt.dtype)

    def step(carry, key):
        token, position, caches = carry
        logits, layers = model.run(token[:, None], start=position, caches=caches)
        token_next = sample(logits[:, -1], key)
        return (token_next, position + 1, [x.cache for x in layers]), token_next

    first_key, key = jax.random.split(key)
    logits, layers = model.run(prompt, caches=caches)
    first = sample(logits[:, -1], first_key)
    carry = (first, jnp.int32(start), [x.cache for x in layers])
    _, rest = jax.lax.scan(step, carry, jax.random.split(key, length - 1))
    return jnp.concatenate([prompt, first[:, None], rest.T], axis=1)
