"""Attention where its operands lie: every device attends with its own heads."""

import math
from collections.abc import Callable
from typing import Any

import jax
from jax import Array
from jax.sharding import PartitionSpec

from softmax_jax.attention.operands import Operands
from softmax_jax.errors import UserError


def per_device(attend: Callable, operands: Operands, partition: PartitionSpec) -> Any:
    """attend(operands), whose results are [B, K, G, ...], without communication.

    `partition` is that of query [B, T, H, D] over the mesh in use; heads are split by
    the key heads that they share.
    """
    batch, heads = _axes(partition)
    mesh = jax.sharding.get_abstract_mesh()
    names = (*_names(batch), *_names(heads))
    missing = [name for name in names if name not in mesh.axis_names]
    if missing:
        raise UserError(
            f"partition names the axis {missing[0]}, but the mesh in use has "
            f"{mesh.axis_names or 'no axes; see jax.set_mesh'}"
        )
    sizes = operands.query.shape[0], operands.key.shape[1]
    for what, size, axes in zip(("B", "K"), sizes, (batch, heads), strict=True):
        devices = _devices(mesh, axes)
        if size % devices:
            raise UserError(
                f"{what}={size} does not divide by the {devices} devices that "
                f"partition puts it on"
            )

    def spec(leaf: Array) -> PartitionSpec:
        """Of an operand; along an axis of size 1 it is the same everywhere."""
        return PartitionSpec(
            *(
                axes if size > 1 else None
                for size, axes in zip(leaf.shape[:2], (batch, heads), strict=True)
            )
        )

    leaves, tree = jax.tree.flatten(operands)
    return jax.shard_map(
        lambda *leaves: attend(tree.unflatten(leaves)),
        in_specs=tuple(map(spec, leaves)),
        out_specs=PartitionSpec(batch, heads),
        axis_names=frozenset(names),
        # Carries of loops begin alike on all devices, which this check would refuse.
        check_vma=False,
    )(*leaves)


def _axes(partition: PartitionSpec) -> tuple[Any, Any]:
    batch, *rest = (*partition, *[None] * (4 - len(partition)))
    time, heads, width = rest if len(rest) == 3 else (True, None, None)
    if time is not None or width is not None:
        raise UserError(
            f"partition must be P(batch axes, None, head axes), got {partition}"
        )
    return batch, heads


def _names(axes: Any) -> tuple[str, ...]:
    return () if axes is None else (axes,) if isinstance(axes, str) else tuple(axes)


def _devices(mesh: Any, axes: Any) -> int:
    return math.prod(mesh.shape[name] for name in _names(axes))
