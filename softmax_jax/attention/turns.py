"""Devices in a ring: what is passed on, what rests, and one turn of it."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from softmax_jax.attention.operands import Operands
from softmax_jax.attention.partition import Partition, devices
from softmax_jax.attention.plan import Plan

# How an array lies: it is passed on with the keys, or holds a column for every key of
# all devices, or has nothing to do with keys.
PASSED, COLUMNS, RESTS = "passed", "columns", "rests"
Leaves = dict[int, Array]


def how_pair_lies(leaf: Array) -> str:
    """Of bias and mask, as given for all devices."""
    queries, keys = leaf.shape[-2:]
    return RESTS if keys == 1 else PASSED if queries == 1 else COLUMNS


@dataclasses.dataclass(frozen=True)
class Ring:
    """The devices along one axis, and how the leaves of the operands lie on them."""

    plan: Plan
    partition: Partition
    pairs: tuple[str, ...]

    @property
    def size(self) -> int:
        return devices(self.partition.sequence)

    def chunks(self, length: int) -> list[range]:
        """What stands together in a sequence is one chunk of it."""
        size = length // 2 if self.partition.balanced else length
        return [range(i, i + size) for i in range(0, length, size)]

    def pass_on(self, tree: Any) -> Any:
        """What the device before this one holds."""
        to_next = [(i, (i + 1) % self.size) for i in range(self.size)]
        return jax.lax.ppermute(tree, self.partition.sequence, to_next)

    def turn(self, step: Callable, state: Any, passed: Any) -> tuple[Any, Any]:
        """`state, passed = step(state, passed, source)` for every device's part."""
        own = jax.lax.axis_index(self.partition.sequence)

        def next_device(carry, i):
            state, passed = step(*carry, (own - i) % self.size)
            return (state, self.pass_on(passed)), None

        last = self.size - 1
        steps = jnp.arange(last, dtype=jnp.int32)
        carry, _ = jax.lax.scan(next_device, (state, passed), steps)
        return step(*carry, (own - last) % self.size)

    def separate(
        self, operands: Operands, keys: str = PASSED
    ) -> tuple[Leaves, Leaves, Callable]:
        """Leaves that are passed on, leaves that rest, and what joins them again.

        `join(passed, resting, source)` gives the operands of one step. `keys` says how
        keys and values lie.
        """
        pairs = iter(self.pairs)
        lies = operands.by_role(
            query=lambda _: RESTS,
            key=lambda _: keys,
            pair=lambda _: next(pairs),
            row=lambda _: RESTS,
        )
        leaves, tree = jax.tree.flatten(operands)
        own = operands.key.shape[4]

        def join(passed: Leaves, resting: Leaves, source: Array) -> Operands:
            joined = passed | resting
            return tree.unflatten(
                jax.lax.dynamic_slice_in_dim(joined[i], source * own, own, axis=4)
                if lies[i] == COLUMNS
                else joined[i]
                for i in range(len(lies))
            )

        everything = dict(enumerate(leaves))
        passed, resting = sort_leaves(everything, lambda i: lies[i] == PASSED)
        return passed, resting, join


def sort_leaves(leaves: Leaves, chosen: Callable[[int], bool]) -> tuple[Leaves, Leaves]:
    """The chosen leaves, and the others."""
    yes = {i: leaf for i, leaf in leaves.items() if chosen(i)}
    return yes, {i: leaf for i, leaf in leaves.items() if i not in yes}


def sort_floats(*groups: Leaves) -> list[list[Leaves]]:
    """The leaves of each group that have a gradient, and those that have none."""
    sorted_groups = [
        sort_leaves(
            leaves, lambda i, own=leaves: jnp.issubdtype(own[i].dtype, jnp.floating)
        )
        for leaves in groups
    ]
    return [list(part) for part in zip(*sorted_groups, strict=True)]
