"""Attention where its operands lie: every device attends with its own part."""

import functools
from collections.abc import Callable
from typing import Any

import jax
from jax import Array
from jax.sharding import PartitionSpec

from softmax_jax.attention.context import gather, ulysses
from softmax_jax.attention.operands import Operands
from softmax_jax.attention.partial import check_parts
from softmax_jax.attention.partition import Axes, Partition, devices, names
from softmax_jax.attention.plan import KERNELS, Plan, Results
from softmax_jax.attention.ring import ring
from softmax_jax.attention.turns import how_pair_lies
from softmax_jax.errors import UserError


def per_device(
    plan: Plan,
    operands: Operands,
    scale: Array,
    soft_cap: Array | None,
    partition: Partition,
) -> Results:
    """`plan.attend` of operands and results that are split over the mesh in use."""
    check(operands, partition)
    local = _local(plan, operands, partition)
    leaves, tree = jax.tree.flatten(operands)
    results = PartitionSpec(partition.batch, partition.heads, None, partition.sequence)
    return jax.shard_map(
        lambda scale, soft_cap, *leaves: local(tree.unflatten(leaves), scale, soft_cap),
        in_specs=(PartitionSpec(), PartitionSpec(), *specs(operands, partition)),
        out_specs=results,
        axis_names=_own_axes(),
        # Carries of loops begin alike on all devices, which this check would refuse.
        check_vma=False,
    )(scale, soft_cap, *leaves)


def check_whole(implementation: str) -> None:
    """Refuses kernels where devices share a call and nothing says how."""
    mesh = jax.sharding.get_abstract_mesh()
    if implementation in KERNELS and any(mesh.shape[n] > 1 for n in _own_axes()):
        raise NotImplementedError(
            f"{implementation} needs partition= on a mesh of several devices, for the "
            "compiler cannot split a kernel"
        )


def _own_axes() -> frozenset[str]:
    """The axes of the mesh in use that no `shard_map` around this call has taken.

    Along those that the partition does not name, devices do the same.
    """
    mesh = jax.sharding.get_abstract_mesh()
    return frozenset(mesh.axis_names) - frozenset(mesh.manual_axes)


def check(operands: Operands, partition: Partition) -> None:
    """Refuses sizes that the mesh in use cannot share evenly."""
    devices(partition.names)
    key_heads, tokens = operands.key.shape[1], devices(partition.sequence)
    shares = [
        ("B", operands.query.shape[0], devices(partition.batch)),
        ("K", key_heads, devices(partition.heads)),
        ("T", operands.query.shape[3], tokens),
        ("S", operands.key.shape[4], tokens),
    ]
    if partition.method == "ulysses":
        shares.append(("K", key_heads, devices(partition.heads) * tokens))
    for what, size, parts in shares:
        if size % parts:
            raise UserError(
                f"{what}={size} does not divide by the {parts} devices that "
                f"partition puts it on"
            )


def specs(operands: Operands, partition: Partition) -> list[PartitionSpec]:
    """How each leaf lies when the computation of a device begins.

    Keys and values lie as queries do. What belongs to queries lies with them, and what
    belongs to keys is everywhere, unless it is passed around with them.
    """
    heads, tokens = partition.heads, partition.sequence
    along_rows, along_keys, own_heads = tokens, None, heads
    if partition.method == "ulysses":
        along_rows, own_heads = None, (*names(heads), *names(tokens))
    if partition.method == "ring":
        along_keys = tokens

    def spec(leaf: Array, heads: Axes, rows: Axes, keys: Axes) -> PartitionSpec:
        """Along an axis of size 1 an array is the same everywhere."""
        axes = (partition.batch, heads, None, rows, keys)
        pairs = zip(leaf.shape, axes, strict=True)
        return PartitionSpec(*(axis if size > 1 else None for size, axis in pairs))

    def pair(leaf: Array) -> PartitionSpec:
        keys = along_keys if leaf.shape[-2] == 1 else None
        return spec(leaf, own_heads, along_rows, keys)

    return operands.by_role(
        query=lambda leaf: spec(leaf, heads, tokens, None),
        key=lambda leaf: spec(leaf, heads, None, tokens),
        pair=pair,
        row=lambda leaf: spec(leaf, own_heads, along_rows, None),
    )


def _local(plan: Plan, operands: Operands, partition: Partition) -> Callable[..., Any]:
    """What a device does with its own operands."""
    if partition.sequence is None:
        return plan.attend
    if partition.method == "gather":
        return functools.partial(gather, plan, partition)
    if partition.method == "ulysses":
        return functools.partial(ulysses, plan, partition)
    if plan.return_weights or plan.implementation in KERNELS:
        reason = "holds the weights that return_weights asks for"
        if not plan.return_weights:
            reason = f"computes by the kernels of {plan.implementation}"
        raise NotImplementedError(f'partition: method="ring" never {reason}')
    check_parts(operands)
    pairs = [how_pair_lies(x) for x in jax.tree.leaves((operands.bias, operands.mask))]
    return functools.partial(ring, plan, partition, tuple(pairs))
