"""Values and gradients against independent float64 implementations (tests/goldens)."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import softmax_jax as sj

pytestmark = [pytest.mark.core, pytest.mark.usefixtures("x64")]

GOLDENS = np.load(Path(__file__).parents[1] / "goldens" / "normalizers.npz")


def multimax(x, c, b):
    names = ("c1", "c2", "c3", "c4", "b1", "d1", "b2", "d2")
    return sj.multimax(x, **dict(zip(names, [*c, *b], strict=True)))


def detached(r):
    return lambda x: sj.r_softmax(x, r=r, detached=True)


def entmax(x, alpha):
    return sj.entmax(x, alpha=alpha)


FUNCTIONS = {
    "softmax1": sj.softmax1,
    "ssmax_s0.43": lambda x: sj.ssmax(x, scale=0.43),
    "sigsoftmax": sj.sigsoftmax,
    "logistic_softmax": sj.logistic_softmax,
    "multimax": multimax,
    "softpick": sj.softpick,
    "tsoftmax_0.5": lambda x: sj.t_softmax(x, t=0.5),
    "tsoftmax_2.0": lambda x: sj.t_softmax(x, t=2.0),
    "tsoftmax_10.0": lambda x: sj.t_softmax(x, t=10.0),
    "rsoftmax_stopgrad_0.1": detached(0.1),
    "rsoftmax_stopgrad_0.5": detached(0.5),
    "rsoftmax_stopgrad_0.9": detached(0.9),
    "sparsemax": sj.sparsemax,
    "entmax15": sj.entmax15,
    "entmax_1.2": entmax,
    "entmax_1.33": entmax,
    "entmax_1.7": entmax,
    "entmax_2.5": entmax,
}


# The golden softpick adds its eps of 1e-8 to a mass that was divided by e^max first.
TOLERANCE = {"softpick": 1e-9}


@pytest.mark.parametrize("tag", "abc")
@pytest.mark.parametrize("name", FUNCTIONS)
def test_value_and_gradients(name, tag):
    def golden(key):
        return jnp.asarray(GOLDENS[f"{tag}.{name}.{key}"])

    x, cotangent = (jnp.asarray(GOLDENS[f"{tag}.{key}"]) for key in ("x", "ct"))
    given = [p for p in ("p0", "p1") if f"{tag}.{name}.{p}" in GOLDENS]
    y, pull = jax.vjp(FUNCTIONS[name], x, *map(golden, given))
    dx, *d_parameters = pull(cotangent)
    tolerance = TOLERANCE.get(name, 1e-13)
    np.testing.assert_allclose(y, golden("y"), atol=tolerance)
    np.testing.assert_allclose(dx, golden("dx"), atol=tolerance)
    for parameter, gradient in zip(given, d_parameters, strict=True):
        np.testing.assert_allclose(gradient, golden(f"d{parameter}"), atol=1e-12)
