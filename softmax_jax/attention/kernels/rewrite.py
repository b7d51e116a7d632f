"""A function in other forms: traced, and evaluated again with parts replaced."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
from jax.extend import core

Forms = Mapping[str, Callable]
CALLS = ("jit", "pjit", "custom_jvp_call")


def rewritten(f: Callable, forms: Forms, *, inline: bool = False) -> Callable:
    """f with `forms` in the place of what they are named after.

    That is a primitive, or the function that is called by `jax.jit` or has a derivative
    of its own. Such derivatives are kept, unless with `inline` these functions are
    written out too. Arguments and results are arrays, or trees of them.
    """

    def again(*args):
        closed, shape = jax.make_jaxpr(f, return_shape=True)(*args)
        leaves = jax.tree.leaves(args)
        outs = _evaluate(closed.jaxpr, closed.consts, leaves, forms, inline)
        return jax.tree.unflatten(jax.tree.structure(shape), outs)

    return again


def _evaluate(
    jaxpr: Any, consts: Sequence[Any], args: Sequence[Any], forms: Forms, inline: bool
) -> list[Any]:
    known = dict(zip(jaxpr.constvars, consts, strict=True))
    known |= dict(zip(jaxpr.invars, args, strict=True))

    def read(atom: Any) -> Any:
        return atom.val if isinstance(atom, core.Literal) else known[atom]

    for eqn in jaxpr.eqns:
        outs = _apply(eqn, [read(atom) for atom in eqn.invars], forms, inline)
        known |= dict(zip(eqn.outvars, outs, strict=True))
    return [read(atom) for atom in jaxpr.outvars]


def _apply(eqn: Any, values: list[Any], forms: Forms, inline: bool) -> list[Any]:
    """The results of one equation."""
    kind = eqn.primitive.name
    called = kind in CALLS
    form = forms.get(_called(eqn) if called else kind)
    if form is not None:
        static = {"y": eqn.params["y"]} if kind == "integer_pow" else {}
        return [form(*values, **static)]
    if called and (inline or kind != "custom_jvp_call"):
        inner = eqn.params["call_jaxpr" if kind == "custom_jvp_call" else "jaxpr"]
        return _evaluate(inner.jaxpr, inner.consts, values, forms, inline)
    # A pair up to some release of JAX, whose functions come first.
    bound = eqn.primitive.get_bind_params(eqn.params)
    functions, params = bound if isinstance(bound, tuple) else ((), bound)
    outs = eqn.primitive.bind(*functions, *values, **params)
    return list(outs) if eqn.primitive.multiple_results else [outs]


def _called(eqn: Any) -> str:
    """The name of the function that a call stands for."""
    if "name" in eqn.params:
        return eqn.params["name"]
    return eqn.params["call_jaxpr"].jaxpr.debug_info.func_name
