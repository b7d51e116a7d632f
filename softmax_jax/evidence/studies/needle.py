"""A needle in a haystack: one sentence hidden in text, and asked for at the end."""

import random
import string
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

from softmax_jax.errors import UserError
from softmax_jax.nn import Transformer, attention_weights

NAMES = ("Abner", "Boaz", "Dinah", "Enoch", "Hagar", "Jared", "Leah", "Naomi")
# Letters, because the King James text has no digit: a model could not say one.
SYMBOLS = string.ascii_lowercase
CODE_LENGTH = 4


@dataclass(frozen=True)
class Needles:
    """Byte texts that end in the code; `places` is where the code stands hidden."""

    tokens: np.ndarray
    places: np.ndarray


def make(text: np.ndarray, length: int, rows: int, seed: int) -> Needles:
    """Hides "the magic word of X is CODE" at a random depth of `rows` texts.

    Every text has `length` bytes and ends in the same sentence, so its last bytes can
    be known only from the hidden one.
    """
    draw = random.Random(f"{seed} {length}")
    tokens, places = [], []
    for _ in range(rows):
        code = "".join(draw.choices(SYMBOLS, k=CODE_LENGTH))
        sentence = f"\nthe magic word of {draw.choice(NAMES)} is {code}".encode()
        room = length - 2 * len(sentence) - 1
        if room < 1 or len(text) <= room:
            raise UserError(f"no needle can be hidden in {length} bytes of this text")
        start, depth = draw.randrange(len(text) - room), draw.randrange(room)
        hay = text[start : start + room].tobytes()
        whole = hay[:depth] + sentence + b"\n" + hay[depth:] + sentence
        tokens.append(np.frombuffer(whole, np.uint8).astype(np.int32))
        places.append(depth + len(sentence) - CODE_LENGTH)
    return Needles(np.stack(tokens), np.array(places))


def judge(model: Transformer, needles: Needles) -> dict[str, float]:
    """Loss per symbol, share of codes fully right, and attention mass on the code.

    The mass is that of the best head of all layers, from where the code is predicted
    to where it is hidden. One text at a time: the weights are quadratic in its length.
    """
    graph, params = nnx.split(model)
    rows = []
    for tokens, place in zip(needles.tokens, needles.places, strict=True):
        rows.append(
            _judge(graph, params, jnp.asarray(tokens)[None], jnp.asarray(place))
        )
    loss, right, masses = (np.stack(column) for column in zip(*rows, strict=True))
    return {
        "needle_loss": float(loss.mean()),
        "needle_accuracy": float(right.mean()),
        "needle_weight": float(masses.mean(axis=0).max()),
    }


@jax.jit(static_argnames="graph")
def _judge(
    graph: nnx.GraphDef, params: Any, tokens: jax.Array, place: jax.Array
) -> tuple[jax.Array, jax.Array, jax.Array]:
    model = nnx.merge(graph, params)
    asked, code = tokens[:, :-1], tokens[0, -CODE_LENGTH:]
    logits = model(asked)[0, -CODE_LENGTH:]
    loss = optax.softmax_cross_entropy_with_integer_labels(logits, code).mean()
    right = (logits.argmax(-1) == code).all().astype(jnp.float32)
    masses = []
    for weights in attention_weights(model, asked):
        ours = weights[0, :, -CODE_LENGTH:]
        hidden = jax.lax.dynamic_slice_in_dim(ours, place, CODE_LENGTH, axis=-1)
        masses.append(hidden.sum(-1).mean(-1))
    return loss, right, jnp.stack(masses)
