"""Values and gradients against independent float64 implementations (tests/goldens)."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import softmax_jax as sj

pytestmark = [pytest.mark.core, pytest.mark.usefixtures("x64")]

GOLDENS = np.load(Path(__file__).parents[1] / "goldens" / "normalizers.npz")

FUNCTIONS = {
    "softmax1": sj.softmax1,
    "ssmax_s0.43": lambda x: sj.ssmax(x, scale=0.43),
    "sigsoftmax": sj.sigsoftmax,
    "sparsemax": sj.sparsemax,
    "entmax15": sj.entmax15,
    "entmax_1.2": lambda x, alpha: sj.entmax(x, alpha=alpha),
    "entmax_1.33": lambda x, alpha: sj.entmax(x, alpha=alpha),
    "entmax_1.7": lambda x, alpha: sj.entmax(x, alpha=alpha),
    "entmax_2.5": lambda x, alpha: sj.entmax(x, alpha=alpha),
}


@pytest.mark.parametrize("tag", "abc")
@pytest.mark.parametrize("name", FUNCTIONS)
def test_value_and_gradients(name, tag):
    def golden(key):
        return jnp.asarray(GOLDENS[f"{tag}.{key}"])

    parameters = [golden(f"{name}.p0")] if f"{tag}.{name}.p0" in GOLDENS else []
    y, pull = jax.vjp(FUNCTIONS[name], golden("x"), *parameters)
    dx, *d_parameters = pull(golden("ct"))
    np.testing.assert_allclose(y, golden(f"{name}.y"), atol=1e-13)
    np.testing.assert_allclose(dx, golden(f"{name}.dx"), atol=1e-13)
    for d_parameter in d_parameters:
        np.testing.assert_allclose(d_parameter, golden(f"{name}.dp0"), atol=1e-12)
