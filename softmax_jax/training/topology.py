"""Chips that are not here: a description that XLA compiles for all the same."""

import os
from collections.abc import Sequence
from importlib.util import find_spec

import jax
from jax.experimental import topologies

from softmax_jax.errors import UserError

# What libtpu would else ask the machine about, which has no TPU, and that it need not
# be alone: no chip is held.
ENVIRONMENT = {
    "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",
    "TPU_SKIP_MDS_QUERY": "1",
    "TPU_WORKER_HOSTNAMES": "localhost",
    "TPU_ACCELERATOR_TYPE": "v5litepod-4",
}


def devices(name: str) -> Sequence[jax.Device]:
    """The chips of a TPU topology such as "v5e:4x4", "v5p:8x8x8" or "v6e:16x16"."""
    if find_spec("libtpu") is None:
        raise UserError(
            "Compiling for a TPU needs its compiler: pip install softmax-jax[tpu]"
        )
    for variable, value in ENVIRONMENT.items():
        os.environ.setdefault(variable, value)
    try:
        found = topologies.get_topology_desc(platform="tpu", topology_name=name)
    except jax.errors.JaxRuntimeError as error:
        reason = str(error).splitlines()[0]
        raise UserError(
            f"topology={name!r} is not one of a TPU, such as v5e:4x4, v5p:8x8x8 or "
            f"v6e:16x16: {reason}"
        ) from None
    return found.devices
