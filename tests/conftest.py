"""Strict JAX on eight CPU devices, float64 on request, the same examples every time."""

import os
from collections.abc import Iterator
from importlib.util import find_spec

import hypothesis
import jax
import pytest

# Tests compile many programs, and run each of them for a moment.
QUICK = [
    "--xla_backend_optimization_level=0",
    "--xla_cpu_parallel_codegen_split_count=1",
]
# A name that newer versions refuse, and so does the compiler for TPUs.
if jax.__version_info__ < (0, 11) and find_spec("libtpu") is None:
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


@pytest.fixture(autouse=True, scope="module")
def forget_programs() -> Iterator[None]:
    """What a file has compiled serves no other file, and is gigabytes in the end."""
    yield
    jax.clear_caches()


@pytest.fixture
def x64() -> Iterator[None]:
    """Runs the test in float64."""
    with jax.enable_x64(True):
        yield
