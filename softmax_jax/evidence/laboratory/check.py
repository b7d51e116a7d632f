"""A normalizer before every law: what it claims, what holds, and what breaks.

The laws are those that the tests hold the catalogue to; beside them stands one on
attention.
"""

import dataclasses
from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np

import softmax_jax as sj
from softmax_jax.attention import chunked
from softmax_jax.errors import UserError
from softmax_jax.evidence.laboratory.normalizer_file import one_line
from softmax_jax.evidence.locate import nearest
from softmax_jax.laws import PROMISES, TAGS, Law, variants
from softmax_jax.normalizers.parameters import declared_parameters

# As of the derivatives: sums in another order, where terms of 1e8 may cancel.
TOLERANCE = 1e-6
HEADS = 4


@dataclasses.dataclass(frozen=True)
class Finding:
    """What came of one law; `broken` is the counterexample, None where there is none.

    `standing` is "tag" where the class claims the law, "promise" where every normalizer
    owes it, and "not claimed" otherwise.
    """

    law: Law
    standing: str
    broken: str | None

    @property
    def fails(self) -> bool:
        """Whether something claimed or promised does not hold."""
        return self.broken is not None and self.standing != "not claimed"

    @property
    def verdict(self) -> str:
        if self.broken is None:
            return "holds"
        return "FAILS" if self.fails else "no"


def examine(normalizer: sj.Normalizer) -> Iterator[Finding]:
    """Tries the tags that are claimed, then every promise, then all other tags."""
    for tag in sorted(normalizer.tags):
        if tag not in TAGS:
            raise UserError(
                f"{type(normalizer).__name__} claims the tag {tag!r}, which there is "
                f"not; {nearest(tag, TAGS)}"
            )
    claimed = [law for name, law in TAGS.items() if name in normalizer.tags]
    others = [law for name, law in TAGS.items() if name not in normalizer.tags]
    yield from (judge(normalizer, law, "tag") for law in claimed)
    yield from (judge(normalizer, law, "promise") for law in PROMISED)
    yield from (judge(normalizer, law, "not claimed") for law in others)


def judge(normalizer: sj.Normalizer, law: Law, standing: str) -> Finding:
    """Tries one law in float64; an exception breaks it like a counterexample."""
    with jax.enable_x64(True):
        try:
            broken = law.counterexample(normalizer)
        except Exception as error:
            broken = one_line(error)
    return Finding(law, standing, broken)


def same_in_chunks(normalizer: sj.Normalizer) -> str | None:
    """Causal attention of grouped heads over two blocks, with a parameter per head.

    Compares the outputs of `chunked` and `reference`, and the gradients of the queries,
    keys, values and parameters.
    """
    rng = np.random.default_rng(0)
    length = chunked.BLOCK + 8
    query, key, value, cotangent = (
        jnp.asarray(rng.normal(size=(1, length, heads, 4)))
        for heads in (HEADS, HEADS // 2, HEADS // 2, HEADS)
    )

    def run(implementation: str) -> dict:
        def loss(query, key, value, normalizer):
            output = sj.dot_product_attention(
                query,
                key,
                value,
                normalizer=normalizer,
                is_causal=True,
                implementation=implementation,
            )
            return (output * cotangent).sum(), output

        gradient = jax.jit(jax.grad(loss, argnums=(0, 1, 2, 3), has_aux=True))
        gradients, output = gradient(query, key, value, per_head(normalizer))
        names = ("d query", "d key", "d value", "d normalizer")
        return {"output": output} | dict(zip(names, gradients, strict=True))

    expected = jax.tree.leaves_with_path(run("reference"))
    for (path, wanted), got in zip(
        expected, jax.tree.leaves(run("chunked")), strict=True
    ):
        error = np.max(np.abs(np.asarray(got - wanted)))
        if not error <= TOLERANCE * max(1.0, np.max(np.abs(wanted))):
            name = jax.tree_util.keystr(path, simple=True, separator=" ")
            return f"{name} differs by {error:.3g}"
    return None


def per_head(normalizer: sj.Normalizer) -> sj.Normalizer:
    """The normalizer with a parameter of each head at another of the values tried."""
    tried = variants(normalizer)

    def spread(name: str) -> jax.Array:
        values = list(dict.fromkeys(float(getattr(v, name)) for v in tried))
        return jnp.asarray(np.resize(values, HEADS))

    names = declared_parameters(normalizer)
    return dataclasses.replace(normalizer, **{name: spread(name) for name in names})


IN_CHUNKS = Law(
    "same_in_chunks",
    "attention in chunks gives the outputs and gradients of the reference",
    same_in_chunks,
)
PROMISED = (*PROMISES, IN_CHUNKS)
