"""The threshold tau of a row, sum_j psi(z_j - tau) = 1, and its derivative."""

from typing import Protocol, runtime_checkable

import jax
import jax.numpy as jnp

from softmax_jax.normalizers import rows
from softmax_jax.normalizers.rows import Rows, Statistic, Visible

MAX_STEPS = 100
# Scores behind each score of the shorter row that a search starts from.
GROUP = 8


@runtime_checkable
class Link(Protocol):
    """psi and its inverse: what a threshold normalizer is made of."""

    def weight(self, u: jax.Array) -> jax.Array: ...

    def inverse(self, p: jax.Array) -> jax.Array: ...


def threshold(link: Link, z: Rows, visible: Visible) -> Statistic:
    """tau with sum_j psi(z_j - tau) = 1 over the visible z, by implicit derivative.

    The visible maximum of z must be 0. Differentiable in z and in the parameters of
    `link`, forward and reverse, to any order; inside `lax.scan` and `lax.map`, where
    JAX drops custom rules from what it has differentiated once, to the second.
    """
    if visible is not None:
        # Left of every threshold a score has no weight, and needs no mask.
        z = jnp.where(visible, z, jax.lax.stop_gradient(_lowest(link, z)) - 1)
    return _threshold(link, z)


@jax.custom_jvp
def _threshold(link: Link, z: Rows) -> Statistic:
    """The root, with a Newton step that adds 0 and has the derivative of the root."""
    tau = _search(*jax.lax.stop_gradient((link, z)))
    mass, slope = _mass_and_slope(link, z, tau)
    step = (mass - 1) * rows.reciprocal(slope)
    return tau + (step - jax.lax.stop_gradient(step))


@_threshold.defjvp
def _threshold_jvp(primals, tangents):
    """d tau = sum_j d psi_j|tau / sum_j psi'_j, and 0 for a row without support."""
    link, z = primals
    tau = _threshold(link, z)

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


def _lowest(link: Link, z: Rows) -> Statistic:
    """Where the largest score, 0, has mass psi(0 - tau) = 1 alone: tau is not below."""
    return -link.inverse(jnp.ones_like(rows.maximum(z, None)))


def _search(link: Link, z: Rows) -> Statistic:
    """Newton's method, from the root of the largest score of each group of scores.

    They are part of the row, so their root lies to the left of its root, and close:
    most of what the threshold leaves stands in a group of its own.
    """
    low = start = _lowest(link, z)
    groups = z.shape[-1] // GROUP
    if groups > 1:
        parts = z[..., : groups * GROUP].reshape(*z.shape[:-1], GROUP, groups)
        start = jnp.maximum(low, _search(link, parts.max(axis=-2)))
    return _newton(link, z, start)


def _newton(link: Link, z: Rows, start: Statistic) -> Statistic:
    """Newton's method on psi^-1(mass(tau)) = psi^-1(1), kept inside a bracket.

    In these units a row of equal scores is solved in one step, and for the powers
    psi(u) = u^p, p >= 1, the function is a norm of (z - tau)+: convex, so that the
    steps from the left rise to the root without overshooting. Where a step leaves the
    bracket, or stops short of the root (psi' is infinite at 0 for p < 1), the bracket
    is halved instead. Its right end is the root of n scores of 0, n psi(-tau) = 1.
    """
    one = jnp.ones_like(start)
    low, high = _lowest(link, z), -link.inverse(one / max(z.shape[-1], 1))
    target = link.inverse(one)
    eps = jnp.finfo(z.dtype).eps

    def step(state):
        tau, low, high, _, count = state
        mass, slope = _mass_and_slope(link, z, tau)
        value, slope = jax.jvp(link.inverse, (mass,), (-slope,))
        value = value - target
        low = jnp.where(value >= 0, tau, low)
        high = jnp.where(value <= 0, tau, high)
        newton = tau - value / slope
        tolerance = 2 * eps * jnp.maximum(1, jnp.abs(tau))
        small = jnp.abs(newton - tau) <= tolerance
        solved = small & (jnp.abs(value) <= 64 * eps * target)
        useful = solved | ((newton > low) & (newton < high) & ~small)
        new = jnp.where(useful, newton, (low + high) / 2)
        searching = ~solved & ~jnp.isnan(value) & (high - low > tolerance)
        return new, low, high, searching, count + 1

    def unfinished(state):
        *_, searching, count = state
        return jnp.any(searching) & (count < MAX_STEPS)

    state = (start, low, high, jnp.ones_like(start, bool), 0)
    return jax.lax.while_loop(unfinished, step, state)[0]
