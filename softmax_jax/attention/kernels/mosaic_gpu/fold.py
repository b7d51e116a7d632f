"""What of a traced function is known to be 0 or 1 is not computed.

Derivatives along one direction are full of such products and sums, which a compiler
that keeps to IEEE may not leave out: 0 x is NaN for some x, and x + 0 has another sign.
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax.extend import core

# Equations that leave the number that every element is.
CARRIES = ("broadcast_in_dim", "convert_element_type", "copy", "reshape")


def folded(f: Callable) -> Callable:
    """f without products and sums of which one side is 0 or 1 everywhere."""

    def again(*args):
        closed, shape = jax.make_jaxpr(f, return_shape=True)(*args)
        outs = _evaluate(closed.jaxpr, closed.consts, jax.tree.leaves(args))
        return jax.tree.unflatten(jax.tree.structure(shape), outs)

    return again


def _evaluate(jaxpr: Any, consts: Sequence[Any], args: Sequence[Any]) -> list[Any]:
    """Of a number that every element of an array is, `splats` knows which."""
    known = dict(zip(jaxpr.constvars, consts, strict=True))
    known |= dict(zip(jaxpr.invars, args, strict=True))
    splats: dict[Any, float] = {}

    def splat(atom: Any) -> float | None:
        if isinstance(atom, core.Literal):
            aval: Any = atom.aval
            number = aval.shape == () and aval.dtype == jnp.float32
            return float(atom.val) if number else None
        return splats.get(atom)

    def read(atom: Any) -> Any:
        if isinstance(atom, core.Literal):
            return atom.val
        if atom not in known:
            known[atom] = jnp.full(atom.aval.shape, splats[atom], atom.aval.dtype)
        return known[atom]

    for eqn in jaxpr.eqns:
        name = eqn.primitive.name
        numbers = [splat(atom) for atom in eqn.invars]
        same = _same(name, eqn, numbers)
        if same is not None:
            if isinstance(same, float):
                splats[eqn.outvars[0]] = same
            else:
                known[eqn.outvars[0]] = read(same)
            continue
        bound = eqn.primitive.get_bind_params(eqn.params)
        functions, params = bound if isinstance(bound, tuple) else ((), bound)
        values = [read(atom) for atom in eqn.invars]
        outs = eqn.primitive.bind(*functions, *values, **params)
        outs = list(outs) if eqn.primitive.multiple_results else [outs]
        known |= dict(zip(eqn.outvars, outs, strict=True))
    return [read(atom) for atom in jaxpr.outvars]


def _same(name: str, eqn: Any, numbers: list[float | None]) -> Any:
    """The number that the result is everywhere, or the atom that it equals, if any."""
    aval = eqn.outvars[0].aval
    if aval.dtype != jnp.float32:
        return None
    first, *rest = numbers
    if name in CARRIES:
        return first
    if name == "neg":
        return None if first is None else -first
    if name == "select_n" and len(rest) == 2 and rest[0] is not None:
        return rest[0] if rest[0] == rest[1] else None
    if name not in ("mul", "add", "add_any", "sub"):
        return None
    (second,), (a, b) = rest, eqn.invars
    if name == "mul":
        if 0.0 in (first, second):
            return 0.0
        kept = b if first == 1 else a if second == 1 else None
    else:
        kept = a if second == 0 else b if first == 0 and name != "sub" else None
    number = first if kept is a else second
    if kept is None or number is not None:
        return number if kept is not None else None
    return kept if kept.aval.shape == aval.shape else None
