"""The catalogue: one explicit row per normalizer, and spec strings for them.

A spec string names a row and, if wanted, its parameters: "entmax(alpha=1.25)". It is
one value to print, override and sweep.
"""

import ast
import dataclasses
import difflib
from collections.abc import Callable

from softmax_jax.errors import UserError
from softmax_jax.normalizers.base import Elementwise, Normalizer, Ratio, Threshold
from softmax_jax.normalizers.entmax import Entmax, Entmax15, entmax, entmax15
from softmax_jax.normalizers.parameters import check_bounds, declared_parameters
from softmax_jax.normalizers.sigmoid import Sigmoid, sigmoid
from softmax_jax.normalizers.sigsoftmax import Sigsoftmax, sigsoftmax
from softmax_jax.normalizers.softmax import Softmax, softmax
from softmax_jax.normalizers.softmax1 import Softmax1, softmax1
from softmax_jax.normalizers.sparsemax import Sparsemax, sparsemax
from softmax_jax.normalizers.ssmax import SSMax, ssmax


@dataclasses.dataclass(frozen=True)
class Row:
    """One normalizer: its name everywhere, its function, its class."""

    name: str
    function: Callable
    cls: type[Normalizer]

    @property
    def family(self) -> str:
        families = (Ratio, Threshold, Elementwise)
        return next(f.__name__.lower() for f in families if issubclass(self.cls, f))


CATALOGUE = {
    row.name: row
    for row in (
        Row("softmax", softmax, Softmax),
        Row("softmax1", softmax1, Softmax1),
        Row("ssmax", ssmax, SSMax),
        Row("sigsoftmax", sigsoftmax, Sigsoftmax),
        Row("sparsemax", sparsemax, Sparsemax),
        Row("entmax15", entmax15, Entmax15),
        Row("entmax", entmax, Entmax),
        Row("sigmoid", sigmoid, Sigmoid),
    )
}


def get(name: str) -> Row:
    """The row of this name; an unknown one is answered with the nearest."""
    if name not in CATALOGUE:
        raise UserError(
            f"no normalizer is called {name!r}; {_nearest(name, CATALOGUE)}"
        )
    return CATALOGUE[name]


def parse(spec: str | Normalizer) -> Normalizer:
    """The normalizer that a spec string describes; an instance is returned as it is.

    >>> parse("entmax(alpha=1.25)")
    Entmax(alpha=1.25)
    >>> parse("softmx")
    Traceback (most recent call last):
    ...
    softmax_jax.errors.UserError: no normalizer is called 'softmx'; nearest: softmax, \
softmax1, sigsoftmax
    """
    if isinstance(spec, Normalizer):
        check_bounds(spec)
        return spec
    if not isinstance(spec, str):
        raise UserError(
            f"normalizer must be a spec string or a Normalizer instance, got {spec!r}"
        )
    name, arguments = _parse_call(spec)
    cls = get(name).cls
    allowed = [field.name for field in dataclasses.fields(cls)]
    for argument in arguments:
        if argument not in allowed:
            raise UserError(
                f"{name} has no parameter {argument!r}; {_nearest(argument, allowed)}"
            )
    normalizer = cls(**arguments)
    check_bounds(normalizer)
    return normalizer


def table() -> list[dict[str, str]]:
    """The catalogue as text, a row each, for printing."""
    return [
        {
            "name": row.name,
            "formula": row.cls.formula,
            "family": row.family,
            "parameters": ", ".join(
                f"{name}={p.default:g}"
                for name, p in declared_parameters(row.cls).items()
            ),
            "paper": row.cls.paper,
            "tags": ", ".join(sorted(row.cls.tags)),
        }
        for row in CATALOGUE.values()
    ]


def _parse_call(spec: str) -> tuple[str, dict[str, float | int | bool | str]]:
    """ "name" or "name(key=literal, ...)" as a name and its arguments."""
    malformed = UserError(
        f"{spec!r} is not a normalizer spec; write a name, or a name with numbers, "
        "like 'entmax(alpha=1.25)'"
    )
    try:
        tree = ast.parse(spec.strip(), mode="eval").body
        if isinstance(tree, ast.Name):
            return tree.id, {}
        if not (isinstance(tree, ast.Call) and isinstance(tree.func, ast.Name)):
            raise malformed
        values = {k.arg: ast.literal_eval(k.value) for k in tree.keywords if k.arg}
        if tree.args or len(values) < len(tree.keywords):
            raise malformed
    except (SyntaxError, ValueError):
        raise malformed from None
    if not all(isinstance(v, float | int | bool | str) for v in values.values()):
        raise malformed
    return tree.func.id, values


def _nearest(word: str, known) -> str:
    close = difflib.get_close_matches(word, known, n=3, cutoff=0.5)
    return f"nearest: {', '.join(close)}" if close else f"known: {', '.join(known)}"
