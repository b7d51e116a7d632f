"""Three numbers per token of u = log w(x W^T + b), without ever holding all of u.

One loop runs over the tiles of [tokens, classes]. The last tile of an axis ends where
the axis ends and leaves out what the one before it has seen, so that any size does.
"""

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float, Int

from softmax_jax.normalizers.base import Ratio, compute_dtype

Link = Ratio


class PerToken(NamedTuple):
    """Of the mapped logits u of each token."""

    mass: Float[Array, " t"]  # log sum_v e^u_v
    label: Float[Array, " t"]  # u at the label; 0 where that is no class of these
    total: Float[Array, " t"]  # sum_v u_v


class Operands(NamedTuple):
    """What the logits are made of; classes with a bias of -inf are left out."""

    x: Float[Array, "t d"]
    weight: Float[Array, "v d"]
    bias: Float[Array, " v"] | None
    link: Link
    labels: Int[Array, " t"]


class Online(NamedTuple):
    """What is known of each token after some tiles: mass in units of e^top."""

    top: Array
    mass: Array
    label: Array
    total: Array


@dataclasses.dataclass(frozen=True)
class Grid:
    """Tiles of at most `tile` over `shape`, one after the other."""

    shape: tuple[int, int]
    tile: tuple[int, int]

    @property
    def sizes(self) -> tuple[int, int]:
        pairs = zip(self.shape, self.tile, strict=True)
        t, v = (min(size, most) for size, most in pairs)
        return t, v

    @property
    def counts(self) -> tuple[int, int]:
        pairs = zip(self.shape, self.sizes, strict=True)
        t, v = (-(-whole // max(1, size)) for whole, size in pairs)
        return t, v

    @property
    def steps(self) -> int:
        return self.counts[0] * self.counts[1]

    def tile_at(self, step: Array | int) -> "Tile":
        """The tile of a step; those of the same tokens follow each other."""
        places = step // self.counts[1], step % self.counts[1]
        wanted = [p * size for p, size in zip(places, self.sizes, strict=True)]
        axes = zip(wanted, self.shape, self.sizes, strict=True)
        starts = [jnp.minimum(w, whole - size) for w, whole, size in axes]
        return Tile(self, (starts[0], starts[1]), (wanted[0], wanted[1]))


class Tile(NamedTuple):
    """Where a tile begins, and where what is new in it does."""

    grid: Grid
    starts: tuple[Array, Array]
    new: tuple[Array | int, Array | int]

    def of(self, array: Array, axis: int) -> Array:
        """The part of an array whose leading axis is tokens (0) or classes (1)."""
        size = self.grid.sizes[axis]
        return jax.lax.dynamic_slice_in_dim(array, self.starts[axis], size)

    def put(self, array: Array, axis: int, part: Array) -> Array:
        start = self.starts[axis]
        return jax.lax.dynamic_update_slice_in_dim(array, part, start, 0)

    def add(self, array: Array, axis: int, part: Array) -> Array:
        return self.put(array, axis, self.of(array, axis) + part)

    def places(self, axis: int) -> Array:
        places = jnp.arange(self.grid.sizes[axis], dtype=jnp.int32)
        return self.starts[axis] + places

    def is_new(self) -> Array | None:
        """[t, v], or what broadcasts to it; None where all tiles are new."""
        new = None
        for axis, expand in enumerate((lambda a: a[:, None], lambda a: a[None])):
            if self.grid.counts[axis] * self.grid.sizes[axis] > self.grid.shape[axis]:
                along = expand(self.places(axis) >= self.new[axis])
                new = along if new is None else new & along
        return new


def accumulate(operands: Operands, tile: tuple[int, int]) -> Online:
    """Everything but the last division, in one loop over the tiles."""
    grid = _grid(operands, tile)
    dtype = compute_dtype(operands.x.dtype)
    low = jnp.full(operands.labels.shape, jnp.finfo(dtype).min, dtype)
    zero = jnp.zeros_like(low)

    def step(i: Array, known: Online) -> Online:
        tile = grid.tile_at(i)
        old = Online(*(tile.of(array, 0) for array in known))
        z, shown = _logits(operands, tile)
        u = operands.link.log_weight(z)
        seen = u if shown is None else jnp.where(shown, u, -jnp.inf)
        top = jnp.maximum(old.top, seen.max(-1))
        mass = jnp.exp(seen - top[:, None]).sum(-1)
        kept = u if shown is None else jnp.where(shown, u, 0)
        new = Online(
            top,
            old.mass * jnp.exp(old.top - top) + mass,
            old.label + _at_label(operands, tile, seen),
            old.total + kept.sum(-1),
        )
        pairs = zip(known, new, strict=True)
        return Online(*(tile.put(array, 0, part) for array, part in pairs))

    return jax.lax.fori_loop(0, grid.steps, step, Online(low, zero, zero, zero))


def pull_back(
    operands: Operands, mass: Array, cotangent: PerToken, tile: tuple[int, int]
) -> tuple[Array, Array, Array | None, Link]:
    """Cotangents of x, weight, bias and link, in the dtype of the logits.

    du = mass' p + label' [v = label] + total', with p = e^(u - mass), and dz by the
    derivative of the link; logits are computed again.
    """
    grid = _grid(operands, tile)
    dtype = compute_dtype(operands.x.dtype)
    x, weight, bias, link, labels = operands
    zeros = jax.tree.map(
        lambda array: jnp.zeros(array.shape, dtype), (x, weight, bias, link)
    )

    def step(i: Array, carry):
        dx, dweight, dbias, dlink = carry
        tile = grid.tile_at(i)
        z, shown = _logits(operands, tile)
        u, pull = jax.vjp(lambda link, z: link.log_weight(z), link, z)
        to_mass, to_label, to_total = (tile.of(a, 0)[:, None] for a in cotangent)
        du = to_mass * jnp.exp(u - tile.of(mass, 0)[:, None]) + to_total
        du = du + jnp.where(_is_label(operands, tile), to_label, 0)
        if shown is not None:
            du = jnp.where(shown, du, 0)
        dlink_here, dz = pull(du)
        dlink = jax.tree.map(jnp.add, dlink, dlink_here)
        if dbias is not None:
            dbias = tile.add(dbias, 1, dz.sum(0))
        dz = dz.astype(x.dtype)
        dx = tile.add(dx, 0, _product(dz, tile.of(weight, 1), (1, 0), dtype))
        dweight = tile.add(dweight, 1, _product(dz, tile.of(x, 0), (0, 0), dtype))
        return dx, dweight, dbias, dlink

    return jax.lax.fori_loop(0, grid.steps, step, zeros)


def _grid(operands: Operands, tile: tuple[int, int]) -> Grid:
    return Grid((operands.x.shape[0], operands.weight.shape[0]), tile)


def _logits(operands: Operands, tile: Tile) -> tuple[Array, Array | None]:
    """z of a tile, and which of it counts; None where all of it does."""
    x, weight = tile.of(operands.x, 0), tile.of(operands.weight, 1)
    dtype = compute_dtype(operands.x.dtype)
    z = _product(x, weight, (1, 1), dtype)
    shown = tile.is_new()
    if operands.bias is None:
        return z, shown
    bias = tile.of(operands.bias, 1)[None].astype(dtype)
    is_class = bias != -jnp.inf
    z = z + jnp.where(is_class, bias, 0)
    return z, is_class if shown is None else is_class & shown


def _is_label(operands: Operands, tile: Tile) -> Array:
    return tile.of(operands.labels, 0)[:, None] == tile.places(1)[None]


def _at_label(operands: Operands, tile: Tile, u: Array) -> Array:
    """u at the label if it is new in this tile, else 0."""
    hit = _is_label(operands, tile)
    new = tile.is_new()
    return jnp.where(hit if new is None else hit & new, u, 0).sum(-1)


def _product(a: Array, b: Array, along: tuple[int, int], dtype: jnp.dtype) -> Array:
    contract = ((along[0],), (along[1],))
    return jax.lax.dot_general(a, b, (contract, ((), ())), preferred_element_type=dtype)
