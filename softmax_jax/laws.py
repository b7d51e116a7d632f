"""The laws of normalizers: one law per tag, and the promises every member keeps.

A law looks for a counterexample: `law.counterexample(normalizer)` is None, or a
sentence that tells what broke. The tests of this project and a user's own check run
the same laws. They compute in float64, so wrap them in `jax.enable_x64(True)`.
"""

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from softmax_jax.normalizers.base import Normalizer
from softmax_jax.normalizers.parameters import INFINITY, declared_parameters

TOLERANCE = 1e-9
STEP = 1e-6


@dataclasses.dataclass(frozen=True)
class Law:
    """A statement about a normalizer, and the search for what contradicts it."""

    name: str
    statement: str
    counterexample: Callable[[Normalizer], str | None]


def laws_of(normalizer: Normalizer) -> tuple[Law, ...]:
    """What this normalizer must obey: its tags, and what everyone must."""
    return (*(TAGS[tag] for tag in sorted(normalizer.tags)), *PROMISES)


def variants(normalizer: Normalizer) -> list[Normalizer]:
    """The normalizer, and copies with each parameter moved within its bounds."""
    found = [normalizer]
    for name, declared in declared_parameters(normalizer).items():
        low, high = declared.bounds
        if high < INFINITY:
            values = [high - distance for distance in (0.1, 0.7)]
        elif low > -INFINITY:
            values = [low + distance for distance in (0.1, 0.7, 2.0)]
        else:
            values = [declared.default + step for step in (-2.1, 0.8, 1.9)]
        values = [value for value in values if low < value < high]
        found += [dataclasses.replace(normalizer, **{name: v}) for v in values]
    return found


def scores() -> Array:
    """Rows of 10: narrow, wide, all positive, all negative, and one with ties."""
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(5, 10)) * np.array([[0.5], [5], [1], [1], [1]])
    rows[2], rows[3] = abs(rows[2]) + 0.1, -abs(rows[3]) - 0.1
    rows[4, 3:6] = rows[4, 2]
    return jnp.asarray(rows)


def _everywhere(check: Callable[[Normalizer], str | None]):
    """The check over all variants, naming the one that broke."""

    def counterexample(normalizer: Normalizer) -> str | None:
        for variant in variants(normalizer):
            if broken := check(variant):
                return f"{variant}: {broken}"
        return None

    return counterexample


def _apart(what: str, got, expected, tolerance: float = TOLERANCE) -> str | None:
    """A sentence if the two differ by more than the tolerance, or one is NaN."""
    error = np.max(np.abs(np.asarray(got, float) - np.asarray(expected, float)))
    return None if error <= tolerance else f"{what} differ by {error:.3g}"


def simplex(normalizer: Normalizer) -> str | None:
    p = normalizer(scores())
    if p.min() < 0:
        return f"a weight is {float(p.min()):.3g}"
    return _apart("row sums and 1", p.sum(-1), jnp.ones(len(p)))


def subsimplex(normalizer: Normalizer) -> str | None:
    p = normalizer(scores())
    total = p.sum(-1)
    if p.min() < 0 or not total.max() <= 1 + TOLERANCE:
        return f"weights from {float(p.min()):.3g}, row sums up to {float(total.max())}"
    return None


def unit_interval(normalizer: Normalizer) -> str | None:
    p = normalizer(scores())
    return None if 0 <= p.min() <= p.max() <= 1 else f"weights {p.min()} to {p.max()}"


def sparse(normalizer: Normalizer) -> str | None:
    p = normalizer(-20.0 * jnp.arange(20.0))
    return None if p[-1] == 0 else f"the last of 0, -20, ..., -380 weighs {p[-1]:.3g}"


def shift_invariant(normalizer: Normalizer) -> str | None:
    z = scores()
    return _apart("weights of z and z + 3", normalizer(z + 3), normalizer(z))


def order_preserving(normalizer: Normalizer) -> str | None:
    p = normalizer(jnp.sort(scores(), axis=-1))
    drop = float((p[:, :-1] - p[:, 1:]).max())
    return None if drop <= TOLERANCE else f"a larger score weighs {drop:.3g} less"


def symmetric_jacobian(normalizer: Normalizer) -> str | None:
    jacobian = jax.jacfwd(normalizer)(scores()[0])
    return _apart("dp_i/dz_j and dp_j/dz_i", jacobian, jacobian.T)


def separable(normalizer: Normalizer) -> str | None:
    z = scores()
    p, moved = normalizer(z), normalizer(z.at[:, 0].set(z.max(-1) + 1))
    return _apart("weights when another score moves", moved[:, 1:], p[:, 1:])


def permutation(normalizer: Normalizer) -> str | None:
    z, order = scores(), jnp.asarray([3, 1, 4, 0, 5, 9, 2, 6, 8, 7])
    moved, kept = normalizer(z[:, order]), normalizer(z)[:, order]
    return _apart("weights of reordered scores", moved, kept)


def masked_is_absent(normalizer: Normalizer) -> str | None:
    """Value, gradient and parameter gradients with masked NaN, inf and large scores."""
    z = scores()
    junk = jnp.asarray([jnp.nan, jnp.inf, -jnp.inf, 1e30])
    padded = jnp.concatenate([z, jnp.broadcast_to(junk, (len(z), 4))], axis=1)
    where = jnp.arange(padded.shape[1]) < z.shape[1]
    cotangent = jnp.cos(jnp.arange(z.size, dtype=z.dtype)).reshape(z.shape)

    def loss(normalizer, x, where):
        return (normalizer(x, where=where)[:, : z.shape[1]] * cotangent).sum()

    gradient = jax.grad(loss, argnums=(0, 1))
    arrays = jax.tree.map(jnp.asarray, normalizer)
    absent = (normalizer(z), *gradient(arrays, z, None))
    weights, d_normalizer, d_x = (
        normalizer(padded, where=where),
        *gradient(arrays, padded, where),
    )
    if weights[:, z.shape[1] :].any() or d_x[:, z.shape[1] :].any():
        return "a masked score has a weight or a gradient"
    masked = (weights[:, : z.shape[1]], d_normalizer, d_x[:, : z.shape[1]])
    pairs = zip(jax.tree.leaves(masked), jax.tree.leaves(absent), strict=True)
    what = "weights or gradients with and without masked scores"
    return next((broken for a, b in pairs if (broken := _apart(what, a, b))), None)


def empty_row_is_zero(normalizer: Normalizer) -> str | None:
    arrays = jax.tree.map(jnp.asarray, normalizer)
    nothing = jnp.zeros(10, bool)

    def loss(normalizer, z):
        return normalizer(z, where=nothing).sum()

    value, gradients = jax.value_and_grad(loss, argnums=(0, 1))(arrays, scores())
    leaves = [value, *jax.tree.leaves(gradients)]
    zero = all(bool((leaf == 0).all()) for leaf in leaves)
    return None if zero else "a fully masked row has a weight or a gradient"


def nan_shows(normalizer: Normalizer) -> str | None:
    p = normalizer(scores().at[0, 2].set(jnp.nan))
    return None if jnp.isnan(p[0]).any() else "a visible NaN left no trace"


def extremes(normalizer: Normalizer) -> str | None:
    z = jnp.asarray(
        [[1e4, -1e4, 0.0, 1.0], [-1e4, -1e4, -1e4, -9e3], [0.0] * 4, [1e4] * 4],
        jnp.float32,
    )
    p, gradient = normalizer(z), jax.grad(lambda z: (normalizer(z)[:, 0]).sum())(z)
    finite = bool(jnp.isfinite(p).all() & jnp.isfinite(gradient).all())
    return None if finite else "scores of 1e4 in float32 give NaN or inf"


def half_precision(normalizer: Normalizer) -> str | None:
    z = scores().astype(jnp.bfloat16)
    p, wide = normalizer(z), normalizer(z.astype(jnp.float32))
    if p.dtype != jnp.bfloat16 or wide.dtype != jnp.float32:
        return f"bfloat16 in gives {p.dtype} out"
    same = (p == wide.astype(jnp.bfloat16)).all()
    return None if same else "bfloat16 scores are not computed in float32"


def any_axis(normalizer: Normalizer) -> str | None:
    z = scores()
    both = normalizer(z.reshape(-1)).reshape(z.shape)
    transposed = normalizer(z.T).T
    return _apart("axis 0 and the transpose", normalizer(z, axis=0), transposed) or (
        _apart("axis None and the flat array", normalizer(z, axis=None), both)
    )


def derivative(normalizer: Normalizer) -> str | None:
    """Forward and reverse mode against central differences, in z and parameters."""
    arrays = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float64), normalizer)
    at = (arrays, scores()[:4])
    rng = np.random.default_rng(1)
    along = jax.tree.map(lambda x: jnp.asarray(rng.normal(size=x.shape)), at)
    cotangent = jnp.asarray(rng.normal(size=at[1].shape))

    def f(normalizer, z):
        return (normalizer(z) * cotangent).sum()

    def moved(step):
        return f(*jax.tree.map(lambda x, d: x + step * d, at, along))

    difference = (moved(STEP) - moved(-STEP)) / (2 * STEP)
    _, forward = jax.jvp(f, at, along)
    products = jax.tree.map(lambda g, d: (g * d).sum(), jax.grad(f, (0, 1))(*at), along)
    reverse = sum(jax.tree.leaves(products))
    tolerance = 1e-6 * max(1.0, abs(float(difference)))
    return _apart("forward mode and differences", forward, difference, tolerance) or (
        _apart("reverse mode and differences", reverse, difference, tolerance)
    )


def logarithm(normalizer: Normalizer) -> str | None:
    """log p against p, then its derivative, where p is not 0."""
    z, rng = scores()[:4], np.random.default_rng(2)
    p, log_p = normalizer(z), normalizer.log(z)
    broken = _apart(
        "exp(log p) and p", jnp.exp(log_p), p, 1e-9 * max(1.0, float(p.max()))
    )
    if broken or (jnp.isfinite(log_p) != (p > 0)).any():
        return broken or "log p is not finite where p > 0, or finite where p is 0"
    cotangent = jnp.where(p > 0, jnp.asarray(rng.normal(size=z.shape)), 0)
    of_log = jax.vjp(normalizer.log, z)[1](cotangent)[0]
    through = jax.vjp(normalizer, z)[1](cotangent / jnp.where(p > 0, p, 1))[0]
    scale = max(1.0, float(jnp.abs(through).max()))
    return _apart("d log p and dp / p", of_log, through, 1e-8 * scale)


def _law(check: Callable, statement: str) -> Law:
    return Law(check.__name__, statement, _everywhere(check))


TAGS = {
    law.name: law
    for law in (
        _law(simplex, "weights are not negative and sum to 1"),
        _law(subsimplex, "weights are not negative and sum to at most 1"),
        _law(unit_interval, "every weight lies in [0, 1]"),
        _law(sparse, "the lowest of many scores weighs exactly 0"),
        _law(shift_invariant, "adding a constant to the row changes nothing"),
        _law(order_preserving, "a larger score never weighs less"),
        _law(symmetric_jacobian, "dp_i/dz_j = dp_j/dz_i: p is a gradient"),
        _law(separable, "a weight depends on its own score and the visible count"),
    )
}

PROMISES = (
    _law(permutation, "reordering the scores reorders the weights"),
    _law(masked_is_absent, "masked scores, whatever they hold, change nothing"),
    _law(empty_row_is_zero, "a row that sees nothing has zero weights and gradients"),
    _law(nan_shows, "a NaN in a visible score is not hidden"),
    _law(extremes, "scores of 1e4 stay finite in float32, in value and gradient"),
    _law(half_precision, "bfloat16 is computed in float32 and returned as bfloat16"),
    _law(any_axis, "any axis, or all of them, means what it says"),
    _law(derivative, "derivatives in z and parameters match finite differences"),
    _law(logarithm, "the logarithm agrees with the weights, in value and gradient"),
)
