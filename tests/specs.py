"""Attention calls that tests and benchmarks share: sizes, masks, modifiers."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np


@dataclasses.dataclass(frozen=True)
class Spec:
    """One way to call attention; arrays are drawn from the sizes."""

    name: str
    t: int = 5
    s: int = 5
    heads: int = 2
    kv_heads: int = 2
    width: int = 4
    value_width: int = 4
    batch: int = 2
    options: tuple[str, ...] = ()

    def operands(self, dtype=np.float32) -> list[jax.Array]:
        rng = np.random.default_rng(len(self.name))
        shapes = (
            (self.batch, self.t, self.heads, self.width),
            (self.batch, self.s, self.kv_heads, self.width),
            (self.batch, self.s, self.kv_heads, self.value_width),
        )
        return [jnp.asarray(2 * rng.normal(size=shape), dtype) for shape in shapes]

    def keywords(self, dtype=np.float32) -> dict:
        """The keyword arguments that the options stand for."""
        rng = np.random.default_rng(7)
        b, h, t, s = self.batch, self.heads, self.t, self.s
        segments = np.sort(rng.integers(0, 3, (b, max(t, s))), axis=1)
        known = {
            "causal": dict(is_causal=True),
            "window": dict(local_window_size=(2, 1)),
            "mask": dict(mask=jnp.asarray(rng.random((b, h, t, s)) < 0.6)),
            "row_mask": dict(mask=jnp.asarray(rng.random((1, 1, t, 1)) < 0.6)),
            "bias": dict(bias=jnp.asarray(rng.normal(size=(1, h, t, s)), dtype)),
            "lengths": dict(
                query_seq_lengths=jnp.arange(t - b + 1, t + 1, dtype=jnp.int32),
                key_value_seq_lengths=jnp.arange(s - b, s, dtype=jnp.int32),
            ),
            "segments": dict(
                segment_ids=(jnp.asarray(segments[:, :t]), jnp.asarray(segments[:, :s]))
            ),
            "offset": dict(query_offset=2),
            "soft_cap": dict(logits_soft_cap=1.5),
            "scale": dict(scale=0.7),
        }
        return {k: v for option in self.options for k, v in known[option].items()}


SPECS = [
    Spec("full"),
    Spec("causal", options=("causal",)),
    Spec("causal_cross", t=3, s=6, options=("causal",)),
    Spec("causal_early", t=6, s=4, options=("causal",)),
    Spec("grouped", heads=4, kv_heads=2, value_width=3, options=("causal", "bias")),
    Spec("window", t=7, s=7, options=("causal", "window")),
    Spec("window_both", t=4, s=7, options=("window", "offset")),
    Spec("mask", options=("mask", "scale")),
    Spec("row_mask", options=("row_mask",)),
    Spec("lengths", t=4, s=6, options=("causal", "lengths")),
    Spec("segments", t=6, s=6, options=("causal", "segments")),
    Spec("capped", heads=4, options=("soft_cap", "bias", "mask")),
    Spec("one_query", t=1, s=9, options=("causal", "lengths")),
]
