"""The threshold tau of a row, sum_j psi(z_j - tau) = 1, and its derivative."""

from typing import Protocol, runtime_checkable

import jax
import jax.numpy as jnp

from softmax_jax.normalizers import rows
from softmax_jax.normalizers.rows import Rows, Statistic, Visible

MAX_STEPS = 100


@runtime_checkable
class Link(Protocol):
    """psi and its inverse: what a threshold normalizer is made of."""

    def weight(self, u: jax.Array) -> jax.Array: ...

    def inverse(self, p: jax.Array) -> jax.Array: ...


@jax.custom_jvp
def threshold(link: Link, z: Rows, visible: Visible) -> Statistic:
    """tau with sum_j psi(z_j - tau) = 1 over the visible z, by implicit derivative.

    The visible maximum of z must be 0. Differentiable in z and in the parameters of
    `link`, forward and reverse, to any order; inside `lax.scan` and `lax.map`, where
    JAX drops custom rules from what it has differentiated once, to the second. That is
    what the Newton step at the end is for: it adds 0, and has the derivative of the
    root.
    """
    tau = jax.lax.stop_gradient(_newton(link, z, visible))
    mass, slope = _mass_and_slope(link, z, visible, tau)
    step = (mass - 1) * rows.reciprocal(slope)
    return tau + (step - jax.lax.stop_gradient(step))


@threshold.defjvp
def _threshold_jvp(primals, tangents):
    """d tau = sum_j d psi_j|tau / sum_j psi'_j, and 0 for a row without support."""
    link, z, visible = primals
    d_link, d_z, _ = tangents
    tau = threshold(link, z, visible)

    def mass_at_tau(link, z):
        return rows.total(link.weight(z - tau), visible)

    _, d_mass = jax.jvp(mass_at_tau, (link, z), (d_link, d_z))
    _, slope = _mass_and_slope(link, z, visible, tau)
    return tau, d_mass * rows.reciprocal(slope)


def _mass_and_slope(
    link: Link, z: Rows, visible: Visible, tau: Statistic
) -> tuple[Statistic, Statistic]:
    """sum_j psi(z_j - tau) and sum_j psi'(z_j - tau)."""

    def mass(tau):
        return rows.total(link.weight(z - tau), visible)

    return jax.jvp(mass, (tau,), (-jnp.ones_like(tau),))


def _newton(link: Link, z: Rows, visible: Visible) -> Statistic:
    """Newton's method on psi^-1(mass(tau)) = psi^-1(1), kept inside a bracket.

    In these units a row of equal scores is solved in one step, and for the powers
    psi(u) = u^p, p >= 1, the function is a norm of (z - tau)+: convex, so that the
    steps from the left rise to the root without overshooting. Where a step leaves the
    bracket, or stops short of the root (psi' is infinite at 0 for p < 1), the bracket
    is halved instead. It holds the root because the largest score alone has mass
    psi(-low) = 1, and n scores have at most n psi(-high) = 1.
    """
    link, z = jax.lax.stop_gradient((link, z))
    one = jnp.ones_like(rows.maximum(z, visible))
    target = link.inverse(one)
    low = -target * one
    high = -link.inverse(one / rows.visible_count(z, visible))
    eps = jnp.finfo(z.dtype).eps

    def gap(tau):
        mass = rows.total(link.weight(z - tau), visible)
        return link.inverse(mass) - target

    def step(state):
        tau, low, high, _, count = state
        value, slope = jax.jvp(gap, (tau,), (one,))
        low = jnp.where(value >= 0, tau, low)
        high = jnp.where(value <= 0, tau, high)
        newton = tau - value / slope
        tolerance = 2 * eps * jnp.maximum(1, jnp.abs(tau))
        small = jnp.abs(newton - tau) <= tolerance
        solved = small & (jnp.abs(value) <= 64 * eps * target)
        useful = solved | ((newton > low) & (newton < high) & ~small)
        new = jnp.where(useful, newton, (low + high) / 2)
        searching = ~solved & (high - low > tolerance)
        return new, low, high, searching, count + 1

    def unfinished(state):
        *_, searching, count = state
        return jnp.any(searching) & (count < MAX_STEPS)

    start = (low, low, high, jnp.ones_like(one, bool), 0)
    return jax.lax.while_loop(unfinished, step, start)[0]
