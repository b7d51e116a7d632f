"""Translation with an encoder-decoder: beam search over cached steps."""

import functools

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Int

from softmax_jax.nn.beam_search import Beams, beam_search
from softmax_jax.nn.encoder_decoder import EncoderDecoder


def translate(
    model: EncoderDecoder,
    source: Int[Array, "b s"],
    *,
    start: int,
    end: int,
    length: int,
    source_lengths: Int[Array, " b"] | None = None,
    beams: int = 4,
    length_penalty: float = 0.6,
) -> Beams:
    """The best translations of at most `length` tokens; one beam is greedy.

    Decoding begins with the token `start`, which is not returned. The source is encoded
    once, and so are the keys and values that the decoder makes of it.
    """
    shape = (start, end, length, beams, length_penalty)
    return _translate(*nnx.split(model), source, source_lengths, *shape)


@functools.partial(jax.jit, static_argnums=(0, 4, 5, 6, 7, 8))
def _translate(
    graphdef, state, source, lengths, start, end, length, beams, length_penalty
) -> Beams:
    model = nnx.merge(graphdef, state)
    memory, _ = model.encode(source, lengths=lengths)
    memory = jax.tree.map(
        lambda leaf: jnp.repeat(leaf, beams, axis=0), model.remember(memory)
    )

    def step(tokens, position, caches):
        logits, layers = model.decoder.run(
            tokens[:, None], start=position, caches=caches, memory=memory
        )
        return logits[:, 0], [layer.cache for layer in layers]

    batch = source.shape[0]
    return beam_search(
        step,
        model.decoder.empty_caches(batch * beams, length),
        jnp.full(batch, start, source.dtype),
        beams=beams,
        length=length,
        end=end,
        length_penalty=length_penalty,
    )
