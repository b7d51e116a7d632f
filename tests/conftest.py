"""Strict JAX on eight CPU devices, float64 on request, the same examples every time."""

import os
from collections.abc import Iterator

import hypothesis
import jax
import pytest

# Tests compile many programs, and run each of them for a moment.
QUICK = [
    "--xla_backend_optimization_level=0",
    "--xla_cpu_parallel_codegen_split_count=1",
]
if jax.__version_info__ < (0, 11):  # newer ones refuse the name
    QUICK.append("--xla_cpu_use_fusion_emitters=false")
os.environ.setdefault("XLA_FLAGS", " ".join(QUICK))

jax.config.update("jax_num_cpu_devices", 8)
jax.config.update("jax_default_matmul_precision", "highest")
jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_numpy_rank_promotion", "raise")

hypothesis.settings.register_profile(
    "tests", derandomize=True, database=None, deadline=None, max_examples=10
)
hypothesis.settings.load_profile("tests")


@pytest.fixture
def x64() -> Iterator[None]:
    """Runs the test in float64."""
    with jax.enable_x64(True):
        yield
