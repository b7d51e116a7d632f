"""Which devices a computation is traced for."""

import jax


def platform() -> str:
    """Such as "cpu" or "tpu": that of the mesh in use, or of JAX where there is none.

    The mesh may be of chips that are not here, for which XLA compiles all the same.
    """
    device = jax.sharding.get_abstract_mesh().abstract_device
    return jax.default_backend() if device is None else device.platform
