"""Which devices a computation is traced for: those of the mesh in use.

Where there is no mesh they are those of JAX. The chips of a mesh need not be here: XLA
compiles for them all the same.
"""

import jax


def platform() -> str:
    """Such as "cpu" or "tpu"."""
    device = jax.sharding.get_abstract_mesh().abstract_device
    return jax.default_backend() if device is None else device.platform


def device_kind() -> str:
    """Such as "TPU v5 lite"."""
    device = jax.sharding.get_abstract_mesh().abstract_device
    return jax.devices()[0].device_kind if device is None else device.device_kind
