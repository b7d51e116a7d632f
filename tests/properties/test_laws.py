"""Every row of the catalogue obeys its tags and the promises; a false tag is caught."""

import jax
import jax.numpy as jnp
import pytest

import softmax_jax as sj
from softmax_jax.laws import PROMISES, TAGS, laws_of

pytestmark = [pytest.mark.core, pytest.mark.usefixtures("x64")]

# What the families keep for their members is tried on one member of each; the rest of
# the catalogue follows with -m slow.
MEMBERS = ("ssmax", "sparse_softmax", "entmax", "sigmoid")
KEPT_BY_FAMILIES = ("any_axis", "half_precision", "logarithm")


def marks(row, law):
    later = law.name in KEPT_BY_FAMILIES and row.name not in MEMBERS
    return [pytest.mark.slow] if later else []


CASES = [
    pytest.param(row.cls(), law, id=f"{row.name}-{law.name}", marks=marks(row, law))
    for row in sj.CATALOGUE.values()
    for law in laws_of(row.cls())
]


@pytest.mark.parametrize(("normalizer", "law"), CASES)
def test_law_holds(normalizer, law):
    assert law.counterexample(normalizer) is None


# For each tag a row to which it would be a lie.
LIES = {
    "simplex": sj.Softmax1(),
    "subsimplex": sj.Sigmoid(bias=3.0),
    "unit_interval": None,
    "sparse": sj.Softmax(),
    "shift_invariant": sj.Sigsoftmax(),
    "order_preserving": sj.SSMax(),
    "symmetric_jacobian": sj.Sigsoftmax(),
    "separable": sj.Sparsemax(),
}


class Exponential(sj.Elementwise):
    """p = e^z: it leaves [0, 1] and overflows."""

    def weight(self, z):
        return jnp.exp(z)


LIES["unit_interval"] = Exponential()


@pytest.mark.parametrize("tag", TAGS)
def test_a_false_tag_is_caught(tag):
    assert TAGS[tag].counterexample(LIES[tag]) is not None


class Leaky(sj.Ratio):
    """Many mistakes at once: order, mask, NaN, range and derivative."""

    def log_weight(self, z):
        return z

    def weigh(self, z, visible, level):
        place = jnp.arange(1, z.shape[-1] + 1, dtype=z.dtype)
        weight = jax.lax.stop_gradient(jnp.exp(jnp.nan_to_num(z)))
        weight = weight * place.reshape((1,) * (z.ndim - 1) + (-1,))
        return weight / weight.sum(-1, keepdims=True)


class Bypass(sj.Softmax):
    """Goes around the shared pipeline, which keeps precision and axes."""

    def __call__(self, x, *, axis=-1, where=None):
        return jax.nn.softmax(x)


@pytest.mark.parametrize("law", PROMISES, ids=lambda law: law.name)
def test_a_broken_promise_is_caught(law):
    kept_by_the_pipeline = law.name in ("half_precision", "any_axis")
    broken = Bypass() if kept_by_the_pipeline else Leaky()
    assert law.counterexample(broken) is not None
