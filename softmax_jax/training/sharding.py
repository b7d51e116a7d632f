"""Where each array lives: a mesh of named axes and one table of rules."""

import math
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from jax.experimental import mesh_utils
from jax.sharding import AxisType, Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from softmax_jax.attention.partition import Partition
from softmax_jax.errors import UserError
from softmax_jax.training.config import MeshConfig, RulesConfig, TrainingConfig
from softmax_jax.training.state import leaf_name

PyTree = Any

AXES = ("replica", "data", "fsdp", "tensor", "context")
EXAMPLES = ("replica", "data", "fsdp")  # what a batch is split over

# What the axes of a leaf are, by the end of its name, so that the optimizer's moments
# lie with their parameters; everything else (gains, normalizer parameters, counts) is
# the same on all devices. Layers that are scanned over have an axis before these.
LOGICAL = {
    "query.kernel": ("width", "heads", None),
    "key.kernel": ("width", "heads", None),
    "value.kernel": ("width", "heads", None),
    "out.kernel": ("heads", None, "width"),
    "gate.kernel": ("width", "mlp"),
    "up.kernel": ("width", "mlp"),
    "down.kernel": ("mlp", "width"),
    "embed.embedding": ("vocabulary", "width"),
    "head.kernel": ("width", "vocabulary"),
}


def make_mesh(config: MeshConfig, devices: Sequence[jax.Device] | None = None) -> Mesh:
    """The mesh; data=-1 takes the devices that the other axes leave."""
    devices = jax.devices() if devices is None else devices
    sizes = {name: getattr(config, name) for name in AXES}
    others = math.prod(size for name, size in sizes.items() if name != "data")
    if config.data == -1 and others > 0:
        sizes["data"] = max(1, len(devices) // others)
    used = math.prod(sizes.values())
    left = config.data == -1 and used < len(devices)
    if min(sizes.values()) < 1 or used > len(devices) or left:
        product = " x ".join(f"{x}={getattr(config, x)}" for x in AXES)
        raise UserError(f"The mesh {product} does not fit {len(devices)} devices.")
    # An axis may be a part of one of the torus: 4 of the 8 chips along its side.
    array = mesh_utils.create_device_mesh(
        tuple(sizes.values()), devices[:used], allow_split_physical_axes=True
    )
    return Mesh(array, AXES, axis_types=(AxisType.Auto,) * len(AXES))


def state_shardings(state: PyTree, mesh: Mesh, rules: RulesConfig) -> PyTree:
    """A sharding for every leaf of `state` (shapes are enough)."""
    for axis in vars(rules).values():
        if axis is not None and axis not in AXES:
            raise UserError(f"mesh.rules: {axis!r} is no axis; use {', '.join(AXES)}.")

    def sharding(path: tuple[Any, ...], leaf: Any) -> NamedSharding:
        name = leaf_name(path)
        logical = LOGICAL.get(".".join(name.split(".")[-2:]), ())
        spec = [None if axis is None else getattr(rules, axis) for axis in logical]
        if logical and leaf.ndim > len(logical):
            spec.insert(0, None)
        for axis, (size, mesh_axis) in enumerate(zip(leaf.shape, spec, strict=False)):
            if mesh_axis is not None and size % mesh.shape[mesh_axis]:
                raise UserError(
                    f"{name} has shape {leaf.shape}, whose axis {axis} does not divide "
                    f"by mesh.{mesh_axis}={mesh.shape[mesh_axis]}."
                )
        return NamedSharding(mesh, P(*spec))

    return jax.tree_util.tree_map_with_path(sharding, state)


def batch_sharding(mesh: Mesh) -> NamedSharding:
    """The sharding of every array of a batch: its examples are split."""
    return NamedSharding(mesh, P(EXAMPLES))


def attention_partition(config: MeshConfig, mesh: Mesh) -> Partition | None:
    """How queries [B, T, H, D] lie: examples as in the batch, heads over theirs."""
    if mesh.size == 1:
        return None
    return Partition(
        batch=EXAMPLES,
        heads=config.rules.heads,
        sequence="context" if config.context > 1 else None,
        method=config.method,
        balanced=config.balanced,
    )


def check_batch(training: TrainingConfig, mesh: Mesh) -> None:
    """Refuses a batch that the micro-batches and devices cannot share evenly."""
    devices = math.prod(mesh.shape[name] for name in EXAMPLES)
    if training.batch_size % (training.accumulation * devices):
        raise UserError(
            f"training.batch_size={training.batch_size} must divide by "
            f"training.accumulation={training.accumulation} x {devices} devices "
            "(mesh.replica x mesh.data x mesh.fsdp)."
        )


class Feed:
    """The way from a process to its devices: it makes the rows that these hold."""

    def __init__(self, sharding: NamedSharding):
        self.sharding = sharding
        self._parts = math.prod(sharding.mesh.shape[name] for name in EXAMPLES)
        held: Any = sharding.addressable_devices_indices_map((self._parts,))
        self._own = sorted({part.start or 0 for (part,) in held.values()})

    def rows(self, batch_size: int) -> np.ndarray:
        """Which rows of a batch are wanted of this process."""
        return np.arange(batch_size).reshape(self._parts, -1)[self._own].reshape(-1)

    def put(self, own: PyTree) -> PyTree:
        """These rows of every array, made by every process, as global arrays."""
        return jax.tree.map(self._put, own)

    def put_whole(self, batch: PyTree) -> PyTree:
        """A batch that every process made whole, as global arrays."""
        return self.put(jax.tree.map(lambda x: x[self.rows(len(x))], batch))

    def _put(self, own: np.ndarray) -> jax.Array:
        size = len(own) // len(self._own)  # rows of a device
        parts = own.reshape(len(self._own), size, *own.shape[1:])

        def part(index: Any) -> np.ndarray:
            return parts[self._own.index((index[0].start or 0) // size)]

        shape = (size * self._parts, *own.shape[1:])
        return jax.make_array_from_callback(shape, self.sharding, part)
