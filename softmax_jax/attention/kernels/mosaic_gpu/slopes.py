"""The derivative of a tile of weights, taken of the member's own functions.

By forward mode along one direction at a time, which is elementwise: its equations are
then evaluated again in forms that lower.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from softmax_jax.attention.kernels.mosaic_gpu.forms import GpuTile, rewritten
from softmax_jax.attention.kernels.tiles import Rows

# Names of numbers of rows that no member has.
SHIFT, D_MASS, INVERSE = "shift", "d_mass", "inverse"
# Of a row, the sum of its slopes, and of those times do . v.
SLOPE, SLOPED = "slope", "sloped"


def weights_and_slopes(
    tile: GpuTile,
    s: Array,
    rows: Rows,
    wanted: tuple[str, ...],
    bias: Array | None = None,
) -> tuple[Array, Callable[..., tuple[Array, Rows]]]:
    """W, and what makes of the cotangents of W and M those of s and of the wanted
    numbers. `rows` broadcast against s; what is not seen is left out by the caller.

    Slopes are written down where they are used, when the compiler has fewer numbers to
    hold; what they share with W it computes once.
    """

    def weigh(s: Array, asked: Rows) -> tuple[Array, ...]:
        """(W, M), or one if they are the same."""
        return _weigh(tile, s, bias, rows | asked)

    asked = {name: jnp.broadcast_to(rows[name], s.shape) for name in wanted}
    one = jnp.ones_like(s)

    def along_scores(s: Array) -> tuple[Any, Any]:
        """W and M, and their slopes."""
        return jax.jvp(lambda s: weigh(s, {}), (s,), (one,))

    def along(name: str, s: Array, x: Array) -> tuple[Array, ...]:
        return jax.jvp(lambda x: weigh(s, {name: x}), (x,), (one,))[1]

    def pull(
        given: Array, d_mass: Array | None, reduce: Callable[[Array], Array]
    ) -> tuple[Array, Rows]:
        """Those of numbers are reduced one after another: each is a whole tile."""
        ds = _combined(rewritten(along_scores)(s)[1], given, d_mass)
        others = {}
        for name in wanted:
            slopes = rewritten(functools.partial(along, name))(s, asked[name])
            others[name] = reduce(_combined(slopes, given, d_mass))
        return ds, others

    # As it stands beside its slope, or the compiler may not see that they share it.
    return rewritten(lambda s: along_scores(s)[0][0])(s), pull


def _weigh(
    tile: GpuTile, s: Array, bias: Array | None, rows: Rows
) -> tuple[Array, ...]:
    """(W, M), or one if they are the same."""
    z = tile.score(s, bias, rows)
    weight, mass = tile.weigh(z, None, rows.get(SHIFT), rows)
    parts = (weight,) if weight is mass else (weight, mass)
    if INVERSE in rows:
        parts = tuple(part * rows[INVERSE] for part in parts)
    return parts


def bias_slope(
    tile: GpuTile, s: Array, rows: Rows, bias: Array | None, given: Array
) -> Array:
    """The cotangent of a bias; where there is no soft-cap, that of the score."""

    def along_bias(bias: Array) -> tuple[Array, ...]:
        one = jnp.ones_like(s)
        return jax.jvp(lambda bias: _weigh(tile, s, bias, rows), (bias,), (one,))[1]

    return _combined(rewritten(along_bias)(bias), given, rows.get(D_MASS))


def slope_above(tile: GpuTile, s: Array, bias: Array | None, rows: Rows) -> Array:
    """psi' of a threshold normalizer, of its scores and not of products."""

    def slope(s: Array) -> Array:
        z = tile.score(s, bias, rows)
        return tile.slopes(z, None, rows[SHIFT], rows)[0]

    return rewritten(slope)(s)


def operations(tile: GpuTile) -> int:
    """How many a score takes, from a product to the slope of its weight."""
    row = jnp.zeros((1,), jnp.float32)
    rows = {str(i): row for i in range(tile.leaves)} | {"score": row, SHIFT: row}

    def slope(s: Array) -> tuple[Array, ...]:
        return jax.jvp(
            lambda s: tile.weigh(tile.score(s, None, rows), None, row, rows),
            (s,),
            (row,),
        )[1]

    return len(jax.make_jaxpr(rewritten(slope))(row).eqns)


def _combined(slopes: tuple[Array, ...], given: Array, d_mass: Array | None) -> Array:
    """The slopes of W and M, times their cotangents."""
    if d_mass is None:
        return slopes[0] * given
    if len(slopes) == 1:
        return slopes[0] * (given + d_mass)
    return slopes[0] * given + slopes[1] * d_mass
