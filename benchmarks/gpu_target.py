"""A GPU that is not here: what XLA and Mosaic GPU compile for sm_90a all the same."""

import functools
import os
import sysconfig
from importlib.util import find_spec
from pathlib import Path
from typing import Any

# Of stream_executor.GpuTargetConfigProto, as far as a compiler asks.
H200 = """
gpu_device_info {
  name: "NVIDIA H200"
  cuda_compute_capability { major: 9 feature_extension: ACCELERATED_FEATURES }
  core_count: 132
  fpus_per_core: 128
  clock_rate_ghz: 1.98
  threads_per_warp: 32
  threads_per_block_limit: 1024
  threads_per_core_limit: 2048
  thread_dim_limit_x: 1024
  thread_dim_limit_y: 1024
  thread_dim_limit_z: 64
  block_dim_limit_x: 2147483647
  block_dim_limit_y: 65535
  block_dim_limit_z: 65535
  registers_per_core_limit: 65536
  registers_per_block_limit: 65536
  shared_memory_per_block: 49152
  shared_memory_per_block_optin: 232448
  shared_memory_per_core: 233472
  l2_cache_size: 52428800
  memory_bandwidth: 4800000000000
  device_memory_size: 151397597184
  device_address_bits: 64
  driver_version: "13.0.0"
  runtime_version: "13.0.0"
  compile_time_toolkit_version: "13.0.0"
}
platform_name: "CUDA"
dnn_version_info { major: 9 minor: 10 }
device_description_str: "NVIDIA H200"
"""


def missing() -> str | None:
    """What compiling without a GPU lacks here, as a sentence; None if nothing."""
    import jax

    if tuple(int(x) for x in jax.__version__.split(".")[:2]) < (0, 11):
        return f"Hopper kernels need jax 0.11 or newer, this is {jax.__version__}."
    if find_spec("jax_cuda13_plugin") is None or not tools():
        return "Compiling for a GPU needs its compiler: pip install softmax-jax[gpu]"
    return None


def tools() -> Path | None:
    """Where the wheels of the CUDA compiler put ptxas."""
    folder = Path(sysconfig.get_paths()["purelib"]) / "nvidia" / "cu13" / "bin"
    return folder if (folder / "ptxas").exists() else None


def environment() -> dict[str, str]:
    """Variables with which a process finds the compiler, and no driver is asked for."""
    path = os.environ.get("PATH", "")
    return {
        "PATH": f"{tools()}{os.pathsep}{path}",
        "JAX_PLATFORMS": "cpu",
        "JAX_SKIP_CUDA_CONSTRAINTS_CHECK": "1",
    }


@functools.cache
def sharding() -> Any:
    """Everything on the one GPU."""
    import jax
    from jax.experimental import topologies

    os.environ.update(environment())
    found = topologies.get_topology_desc(
        platform="cuda", target_config=H200, topology="1x1x1"
    )
    return jax.sharding.SingleDeviceSharding(found.devices[0])
