"""Where each array lives: a mesh of data x fsdp x tensor and one table of rules."""

import math
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from jax.experimental import mesh_utils
from jax.sharding import AxisType, Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from softmax_jax.errors import UserError
from softmax_jax.training.state import leaf_name

PyTree = Any

AXES = ("data", "fsdp", "tensor")

# By the end of a leaf's name, so that the optimizer's moments lie with their
# parameters; everything else (gains, normalizer parameters, counts) is replicated.
RULES = {
    "query.kernel": P("fsdp", "tensor", None),
    "key.kernel": P("fsdp", "tensor", None),
    "value.kernel": P("fsdp", "tensor", None),
    "out.kernel": P("tensor", None, "fsdp"),
    "gate.kernel": P("fsdp", "tensor"),
    "up.kernel": P("fsdp", "tensor"),
    "down.kernel": P("tensor", "fsdp"),
    "embed.embedding": P("tensor", "fsdp"),
    "head.kernel": P("fsdp", "tensor"),
}


def make_mesh(
    data: int = -1,
    fsdp: int = 1,
    tensor: int = 1,
    devices: Sequence[jax.Device] | None = None,
) -> Mesh:
    """The mesh; data=-1 takes the devices that the other axes leave."""
    devices = jax.devices() if devices is None else devices
    sizes = (data, fsdp, tensor)
    if data == -1:
        sizes = (max(1, len(devices) // (fsdp * tensor)), fsdp, tensor)
    used = math.prod(sizes)
    if min(sizes) < 1 or used > len(devices) or (data == -1 and used < len(devices)):
        raise UserError(
            f"The mesh data={data} x fsdp={fsdp} x tensor={tensor} does not fit "
            f"{len(devices)} devices."
        )
    # An axis may be a part of one of the torus: 4 of the 8 chips along its side.
    array = mesh_utils.create_device_mesh(
        sizes, devices[:used], allow_split_physical_axes=True
    )
    return Mesh(array, AXES, axis_types=(AxisType.Auto,) * len(AXES))


def state_shardings(state: PyTree, mesh: Mesh) -> PyTree:
    """A sharding for every leaf of `state` (shapes are enough)."""

    def sharding(path: tuple[Any, ...], leaf: Any) -> NamedSharding:
        name = leaf_name(path)
        spec = RULES.get(".".join(name.split(".")[-2:]), P())
        for axis, (size, mesh_axis) in enumerate(zip(leaf.shape, spec, strict=False)):
            if mesh_axis is not None and size % mesh.shape[mesh_axis]:
                raise UserError(
                    f"{name} has shape {leaf.shape}, whose axis {axis} does not divide "
                    f"by training.{mesh_axis}={mesh.shape[mesh_axis]}."
                )
        return NamedSharding(mesh, spec)

    return jax.tree_util.tree_map_with_path(sharding, state)


def batch_sharding(mesh: Mesh) -> NamedSharding:
    """The sharding of tokens [B, T]: sequences over the data and fsdp axes."""
    return NamedSharding(mesh, P(("data", "fsdp")))


def attention_partition(mesh: Mesh) -> P | None:
    """That of queries [B, T, H, D]: sequences as in the batch, heads over tensor."""
    return None if mesh.size == 1 else P(("data", "fsdp"), None, "tensor")


def check_batch(batch_size: int, accumulation: int, mesh: Mesh) -> None:
    """Refuses a batch that the micro-batches and devices cannot share evenly."""
    devices = mesh.shape["data"] * mesh.shape["fsdp"]
    if batch_size % (accumulation * devices):
        raise UserError(
            f"training.batch_size={batch_size} must divide by training.accumulation="
            f"{accumulation} x {devices} devices (training.data x training.fsdp)."
        )


def put_batch(batch: np.ndarray, sharding: NamedSharding) -> jax.Array:
    """A host batch as a global array; each device is given its own rows."""
    return jax.make_array_from_callback(batch.shape, sharding, batch.__getitem__)
