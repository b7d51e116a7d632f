"""Our Transformer written out: jax.numpy, `jax.nn.dot_product_attention` and optax.

The parameters are a dict of arrays by the names that ours have, so that both can start
from the same ones; the mathematics is the same, step by step.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax import Array

from softmax_jax.nn import TransformerConfig
from softmax_jax.optim import OptimizerConfig

Params = dict[str, Array]
State = tuple[Params, Any]
MATRICES = ("kernel", "embedding")


def logits(params: Params, tokens: Array, config: TransformerConfig) -> Array:
    """Logits over the next token [B, T, V] of tokens [B, T]."""
    x = params["embed.embedding"][tokens]
    for i in range(config.layers):
        own = {
            name.removeprefix(f"blocks.{i}."): array
            for name, array in params.items()
            if name.startswith(f"blocks.{i}.")
        }
        x = x + attention(own, rms_norm(x, own["attention_norm.scale"]))
        h = rms_norm(x, own["mlp_norm.scale"])
        gate = jax.nn.silu(h @ own["mlp.gate.kernel"])
        x = x + (gate * (h @ own["mlp.up.kernel"])) @ own["mlp.down.kernel"]
    return rms_norm(x, params["final_norm.scale"]) @ params["embed.embedding"].T


def attention(own: Params, x: Array) -> Array:
    """Causal softmax attention of x [B, T, width] to itself."""
    query, key, value = (
        jnp.einsum("btw,whd->bthd", x, own[f"attention.{name}.kernel"])
        for name in ("query", "key", "value")
    )
    output = jax.nn.dot_product_attention(
        rotate(query), rotate(key), value, is_causal=True
    )
    return jnp.einsum("bthd,hdw->btw", output, own["attention.out.kernel"])


def rms_norm(x: Array, scale: Array) -> Array:
    return x * jax.lax.rsqrt((x * x).mean(-1, keepdims=True) + 1e-6) * scale


def rotate(x: Array) -> Array:
    """Rotary positions, by halves."""
    half = x.shape[-1] // 2
    frequency = 10_000.0 ** (-jnp.arange(half) / half)
    angle = jnp.arange(x.shape[1])[:, None, None] * frequency
    cos, sin = jnp.cos(angle), jnp.sin(angle)
    a, b = x[..., :half], x[..., half:]
    return jnp.concatenate([a * cos - b * sin, b * cos + a * sin], axis=-1)


def adamw(config: OptimizerConfig, steps: int, params: Any) -> Any:
    """AdamW with clipping, warm-up and cosine; decay on what is named a matrix."""
    rate = config.learning_rate
    schedule = optax.warmup_cosine_decay_schedule(
        0.0, rate, config.warmup, steps, rate * config.final_fraction
    )

    def is_matrix(path: Any, _: Any) -> bool:
        return jax.tree_util.keystr(path, simple=True).endswith(MATRICES)

    return optax.chain(
        optax.clip_by_global_norm(config.clip),
        optax.adamw(
            schedule,
            config.b1,
            config.b2,
            weight_decay=config.weight_decay,
            mask=jax.tree_util.tree_map_with_path(is_matrix, params),
        ),
    )


def make_step(
    logits: Callable[[Any, Array], Array], optimizer: optax.GradientTransformation
) -> Callable[[State, Array], tuple[State, dict[str, Array]]]:
    """`((params, optimizer's state), tokens [B, T + 1]) -> (the same, loss)`."""

    def loss(params: Any, tokens: Array) -> Array:
        found = logits(params, tokens[:, :-1]).astype(jnp.float32)
        return optax.softmax_cross_entropy_with_integer_labels(
            found, tokens[:, 1:]
        ).mean()

    def step(state: State, tokens: Array) -> tuple[State, dict[str, Array]]:
        params, opt_state = state
        value, gradient = jax.value_and_grad(loss)(params, tokens)
        updates, opt_state = optimizer.update(gradient, opt_state, params)
        values = {"loss": value, "gradient_norm": optax.tree.norm(gradient)}
        return (optax.apply_updates(params, updates), opt_state), values

    return step
