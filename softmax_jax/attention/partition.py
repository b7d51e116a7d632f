"""How one call of attention lies on the mesh in use."""

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from softmax_jax.errors import UserError

Axes = str | tuple[str, ...] | None

METHODS = ("gather", "ulysses", "ring")


@dataclasses.dataclass(frozen=True)
class Partition:
    """Names of mesh axes: a string, several in a tuple, or None.

    Examples are split over `batch` and heads over `heads`, which costs no
    communication. Over `sequence` queries, keys, values and outputs are split along
    their tokens, and every method gives what one device would:

    - "gather" collects keys and values, and gives every device its rows whole;
    - "ulysses" exchanges heads for tokens and back: every device has whole sequences
      of some of the heads, whose number of key heads must divide;
    - "ring" passes keys and values around, of which a device never holds more than its
      part. Ratios and elementwise rows alone can be put together from parts.

    `balanced` says that the tokens lie in `balanced_order`, in which causal rows cost
    all devices the same.
    """

    batch: Axes = ("data", "fsdp")
    heads: Axes = "tensor"
    sequence: Axes = None
    method: str = "gather"
    balanced: bool = False

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise UserError(
                f"partition: method must be among {', '.join(METHODS)}, got "
                f"{self.method!r}"
            )
        if self.balanced and self.sequence is None:
            raise UserError("partition: balanced needs a sequence that is split")
        used = self.names
        twice = [name for name in used if used.count(name) > 1]
        if twice:
            raise UserError(f"partition names the axis {twice[0]} twice")

    @property
    def names(self) -> tuple[str, ...]:
        """Every mesh axis that is named."""
        return (*names(self.batch), *names(self.heads), *names(self.sequence))

    def order(self, length: int) -> tuple[np.ndarray, np.ndarray]:
        """How the tokens of a sequence lie on the mesh in use, and the inverse."""
        if not self.balanced:
            natural = np.arange(length, dtype=np.int32)
            return natural, natural
        return balanced_order(length, devices(self.sequence))


def names(axes: Axes) -> tuple[str, ...]:
    """The mesh axes as a tuple."""
    return () if axes is None else (axes,) if isinstance(axes, str) else tuple(axes)


def devices(axes: Axes) -> int:
    """How many parts the axes of the mesh in use make."""
    mesh = jax.sharding.get_abstract_mesh()
    missing = [name for name in names(axes) if name not in mesh.axis_names]
    if missing:
        raise UserError(
            f"partition names the axis {missing[0]}, but the mesh in use has "
            f"{mesh.axis_names or 'no axes; see jax.set_mesh'}"
        )
    return math.prod(mesh.shape[name] for name in names(axes))


def balanced_order(length: int, devices: int) -> tuple[np.ndarray, np.ndarray]:
    """The order in which causal rows cost all devices the same, and its inverse.

    Of 2P chunks of the sequence, device i of P holds i and 2P - 1 - i: `x[order]` lies
    so, and `x[order][inverse]` is x again.
    """
    if length % (2 * devices):
        raise UserError(
            f"the balanced order cuts a sequence into {2 * devices} chunks, which do "
            f"not divide its length {length}"
        )
    chunks = np.arange(length, dtype=np.int32).reshape(2 * devices, -1)
    order = np.stack([chunks[:devices], chunks[: devices - 1 : -1]], axis=1).reshape(-1)
    return order, np.argsort(order).astype(np.int32)


def positions(length: int, partition: Partition | None) -> Array:
    """Where each token of a sequence of this length truly stands, [length]."""
    if partition is None or not partition.balanced:
        return jnp.arange(length, dtype=jnp.int32)
    return jnp.asarray(partition.order(length)[0])
