"""The threshold tau of a row, sum_j psi(z_j - tau) = 1, and its derivative."""

from typing import Protocol, runtime_checkable

import jax
import jax.numpy as jnp

from softmax_jax.normalizers import rows
from softmax_jax.normalizers.rows import Rows, Statistic

MAX_STEPS = 100
# Scores behind each score of the shorter row that a search starts from.
GROUP = 8
# Between the first two points of the secant method, in units of psi^-1(1).
SPREAD = 2**-6


@runtime_checkable
class Link(Protocol):
    """psi and its inverse: what a threshold normalizer is made of."""

    def weight(self, u: jax.Array) -> jax.Array: ...

    def inverse(self, p: jax.Array) -> jax.Array: ...


@jax.custom_jvp
def threshold(link: Link, z: Rows) -> Statistic:
    """tau with sum_j psi(z_j - tau) = 1, by implicit derivative.

    The maximum of z must be 0, or below every threshold for a row without support.
    Differentiable in z and in the parameters of `link`, forward and reverse, to any
    order; inside `lax.scan` and `lax.map`, where JAX drops custom rules from what it
    has differentiated once, to the second.
    """
    return _search(link, z)


def lowest(link: Link, like: Statistic) -> Statistic:
    """Where the largest score, 0, has mass psi(0 - tau) = 1 alone: tau is not below."""
    return -link.inverse(jnp.ones_like(like))


@jax.custom_jvp
def _differentiable(link: Link, z: Rows) -> Statistic:
    """The root, and a Newton step that adds 0 and has the derivative of the root."""
    tau = jax.lax.stop_gradient(threshold(link, z))
    mass, slope = _mass_and_slope(link, z, tau)
    step = (mass - 1) * rows.reciprocal(slope)
    return tau + (step - jax.lax.stop_gradient(step))


@threshold.defjvp
@_differentiable.defjvp
def _threshold_jvp(primals, tangents):
    """d tau = sum_j d psi_j|tau / sum_j psi'_j, and 0 for a row without support."""
    link, z = primals
    tau = rows.searched(_differentiable(link, z))

    def mass_at_tau(link, z):
        return rows.total(link.weight(z - tau), None)

    _, d_mass = jax.jvp(mass_at_tau, primals, tangents)
    _, slope = _mass_and_slope(link, z, tau)
    return tau, d_mass * rows.reciprocal(slope)


def _mass_and_slope(link: Link, z: Rows, tau: Statistic) -> tuple[Statistic, Statistic]:
    """sum_j psi(z_j - tau) and sum_j psi'(z_j - tau)."""
    u = z - tau
    weight, slope = jax.jvp(link.weight, (u,), (jnp.ones_like(u),))
    return rows.total(weight, None), rows.total(slope, None)


def _search(link: Link, z: Rows) -> Statistic:
    """The secant method, from the root of the largest score of each group of scores.

    They are part of the row, so their root lies to the left of its root, and close:
    most of what the threshold leaves stands in a group of its own.
    """
    low = start = lowest(link, jnp.ones((*z.shape[:-1], 1), z.dtype))
    groups = z.shape[-1] // GROUP
    if groups > 1:
        parts = z[..., : groups * GROUP].reshape(*z.shape[:-1], GROUP, groups)
        start = jnp.maximum(low, _search(link, parts.max(axis=-2)))
    return _secant(link, z, start)


def _secant(link: Link, z: Rows, start: Statistic) -> Statistic:
    """The secant method on psi^-1(mass(tau)) = psi^-1(1), kept inside a bracket.

    It needs one sum over the row per step, where Newton's method needs two. In these
    units a row of equal scores is solved in one step, and for the powers psi(u) = u^p,
    p >= 1, the function is a norm of (z - tau)+: convex, so that steps from the left
    rise to the root without overshooting. Where a step leaves the bracket, or stops
    short of the root (psi' is infinite at 0 for p < 1), the bracket is halved instead.
    Its right end is the root of n scores of 0, n psi(-tau) = 1.
    """
    one = jnp.ones_like(start)
    target = link.inverse(one)
    eps = jnp.finfo(z.dtype).eps

    def value(tau):
        return link.inverse(rows.total(link.weight(z - tau), None)) - target

    def next_step(state):
        """Where the line through the last two points meets 0, and whether to go on."""
        (before, f_before), (tau, f), low, high, _ = state
        rise = f - f_before
        line = tau - f * (tau - before) / jnp.where(rise == 0, 1, rise)
        tolerance = 2 * eps * jnp.maximum(1, jnp.abs(tau))
        small = jnp.abs(line - tau) <= tolerance
        solved = (jnp.abs(f) <= 2 * eps * target) | (
            small & (jnp.abs(f) <= 64 * eps * target)
        )
        inside = (line > low) & (line < high) & ~small
        searching = ~solved & ~jnp.isnan(f) & (high - low > tolerance)
        return jnp.where(inside, line, (low + high) / 2), searching

    def step(state):
        _, here, low, high, count = state
        new, searching = next_step(state)
        tau = jnp.where(searching, new, here[0])
        f = value(tau)
        low = jnp.where(f >= 0, tau, low)
        high = jnp.where(f <= 0, tau, high)
        return here, (tau, f), low, high, count + 1

    def unfinished(state):
        _, searching = next_step(state)
        return jnp.any(searching) & (state[-1] < MAX_STEPS)

    low, high = -target, -link.inverse(one / max(z.shape[-1], 1))
    before = start - SPREAD * target
    state = (before, value(before)), (start, value(start)), low, high, 0
    return jax.lax.while_loop(unfinished, step, state)[1][0]
