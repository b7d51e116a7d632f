"""What a row needs to be solved for its threshold, in the layout of the scores.

The largest scores of each column of the tiles are part of the row, so their root lies
left of its root, and close. Newton's steps on psi^-1(mass) = psi^-1(1), a norm of the
scores above tau for powers, rise from there without overshooting; a step that leaves
the bracket halves it instead. tau is measured from the top of its row.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from softmax_jax.attention.kernels.mosaic_gpu import call
from softmax_jax.attention.kernels.mosaic_gpu.forms import GpuTile, rewritten
from softmax_jax.attention.kernels.mosaic_gpu.scores import across
from softmax_jax.attention.kernels.tiles import LOWEST, Rows

# How many scores of each column are kept for the first guess, by the size of a block:
# what registers there are.
LEVELS = {128: 2, 64: 3}
# Steps with the first of each column, with all that are kept, and with all scores.
FIRST_STEPS, LAST_STEPS, MOST_PASSES = 3, 2, 60
# Passes after which every other one halves the bracket: powers below 1 need it.
TRUSTED = 8
# How far from 1 a mass may be before the last step: a step leaves about a quarter of
# the square, and weights are divided by their sum in any case.
TOLERANCE = 2e-2
# An error that no step needs to follow.
SOLVED = 2e-6
# How far below tau a score may be and its block still count as one of the support: the
# step that follows may go back as far, and no further.
SLACK = 2.0**-6


class Level(NamedTuple):
    """Where the thresholds of 64 rows are, each [64]."""

    top: Array
    tau: Array
    low: Array
    high: Array

    @property
    def blind(self) -> Array:
        """Whether a row sees nothing."""
        return self.top == LOWEST


def weight_and_slope(tile: GpuTile, u: Array, rows: Rows) -> tuple[Array, Array]:
    """psi and psi' of a tile of scores above their thresholds."""

    def both(u: Array) -> tuple[Array, Array]:
        weight = tile.lean(tile.normalizer(across(rows, u.shape)).weight)
        return jax.jvp(weight, (u,), (jnp.ones_like(u),))

    return rewritten(both)(u)


def nothing(block: int) -> tuple[Array, ...]:
    """The largest scores of each column, before any."""
    lowest = call.full_tile(call.ROWS, block, LOWEST)
    return (lowest,) * LEVELS[block]


def sorted_in(tops: tuple[Array, ...], z: Array) -> tuple[Array, ...]:
    """The largest of each column, with those of another tile."""
    found = []
    for level, top in enumerate(tops):
        found.append(jnp.maximum(top, z))
        if level + 1 < len(tops):
            z = jnp.minimum(top, z)
    return tuple(found)


def first_guess(tile: GpuTile, rows: Rows, tops: tuple[Array, ...], n: Array) -> Level:
    """The threshold of what was kept, and the bracket of n keys at most."""
    top = jnp.max(tops[0], axis=1)
    one = jnp.ones_like(top)

    def inverse(p: Array) -> Array:
        return rewritten(lambda p: tile.normalizer(rows).inverse(p))(p)

    low, high = -inverse(one), -inverse(one / n.astype(jnp.float32))
    level = Level(top, low, low, high)
    for used in (1,) * FIRST_STEPS + (len(tops),) * LAST_STEPS:
        limit = call.over_columns(level.top + level.tau, tops[0].shape)
        mass, slope = jnp.zeros_like(top), jnp.zeros_like(top)
        for z in tops[:used]:
            parts = weight_and_slope(tile, z - limit, rows)
            mass, slope = (
                total + jnp.sum(part, axis=1)
                for total, part in zip((mass, slope), parts, strict=True)
            )
        tau = _newton(tile, rows, level.tau, mass, slope)
        level = level._replace(tau=jnp.minimum(jnp.maximum(tau, low), high))
    return level


def after_pass(
    tile: GpuTile, rows: Rows, level: Level, mass: Array, slope: Array, steps: Array
) -> tuple[Level, Array]:
    """The next threshold, and how far from 1 the mass was at this one."""
    top, tau, low, high = level
    new = _newton(tile, rows, tau, mass, slope)
    low = jnp.where(mass >= 1, tau, low)
    high = jnp.where(mass <= 1, tau, high)
    trusted = (steps < TRUSTED) | (jax.lax.rem(steps, jnp.int32(2)) == 0)
    inside = (new >= low) & (new <= high) & trusted
    error = jnp.abs(mass - 1)
    solved = level.blind | (error <= SOLVED)
    far = jnp.full_like(error, jnp.inf)
    new = jnp.where(inside, new, 0.5 * (low + high))
    left = jnp.where(inside & (new >= tau - SLACK), error, far)
    return (
        Level(top, jnp.where(solved, tau, new), low, high),
        jnp.where(solved, jnp.zeros_like(error), left),
    )


def _newton(tile: GpuTile, rows: Rows, tau: Array, mass: Array, slope: Array) -> Array:
    """tau after a step on psi^-1(mass) = psi^-1(1)."""

    def level(mass: Array) -> Array:
        return tile.normalizer(rows).inverse(mass)

    def both(mass: Array, slope: Array) -> tuple[Array, Array]:
        return jax.jvp(level, (mass,), (slope,))

    found, steepness = rewritten(both)(mass, slope)
    target = rewritten(level)(jnp.ones_like(mass))
    one = jnp.ones_like(mass)
    return tau + (found - target) / jnp.where(steepness == 0, one, steepness)
