"""The catalogue: one explicit row per normalizer and query scale, and spec strings.

A spec string names a row and, if wanted, its parameters: "entmax(alpha=1.25)". It is
one value to print, override and sweep.
"""

import ast
import dataclasses
import difflib
from collections.abc import Callable, Mapping
from typing import TypeVar

from softmax_jax.errors import UserError
from softmax_jax.normalizers.base import Elementwise, Normalizer, Ratio, Threshold
from softmax_jax.normalizers.entmax import Entmax, Entmax15, entmax, entmax15
from softmax_jax.normalizers.logistic_softmax import LogisticSoftmax, logistic_softmax
from softmax_jax.normalizers.multimax import MultiMax, multimax
from softmax_jax.normalizers.parameters import (
    Parametrised,
    settable,
)
from softmax_jax.normalizers.r_softmax import RSoftmax, TSoftmax, r_softmax, t_softmax
from softmax_jax.normalizers.relu import ReLU, ReLUPower, relu, relu_power
from softmax_jax.normalizers.sigmoid import Sigmoid, sigmoid
from softmax_jax.normalizers.sigsoftmax import Sigsoftmax, sigsoftmax
from softmax_jax.normalizers.softmax import Softmax, softmax
from softmax_jax.normalizers.softmax1 import Softmax1, softmax1
from softmax_jax.normalizers.softpick import Softpick, softpick
from softmax_jax.normalizers.sparse_softmax import SparseSoftmax, sparse_softmax
from softmax_jax.normalizers.sparsemax import Sparsemax, sparsemax
from softmax_jax.normalizers.ssmax import SSMax, ssmax
from softmax_jax.query_scales.base import QueryScale
from softmax_jax.query_scales.key_lengths import KeyLengths
from softmax_jax.query_scales.length import AdaptiveLength, Llama4, LogLength, LogN

Kind = TypeVar("Kind", bound=Parametrised)


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
        Row("logistic_softmax", logistic_softmax, LogisticSoftmax),
        Row("multimax", multimax, MultiMax),
        Row("softpick", softpick, Softpick),
        Row("sparse_softmax", sparse_softmax, SparseSoftmax),
        Row("t_softmax", t_softmax, TSoftmax),
        Row("r_softmax", r_softmax, RSoftmax),
        Row("sparsemax", sparsemax, Sparsemax),
        Row("entmax15", entmax15, Entmax15),
        Row("entmax", entmax, Entmax),
        Row("sigmoid", sigmoid, Sigmoid),
        Row("relu", relu, ReLU),
        Row("relu_power", relu_power, ReLUPower),
    )
}

QUERY_SCALES: dict[str, type[QueryScale]] = {
    "log_length": LogLength,
    "log_n": LogN,
    "llama4": Llama4,
    "adaptive_length": AdaptiveLength,
    "key_lengths": KeyLengths,
}


def parse(spec: str | Normalizer) -> Normalizer:
    """The normalizer that a spec string describes; an instance is returned as it is.

    >>> parse("entmax(alpha=1.25)")
    Entmax(alpha=1.25)
    >>> parse("softmx")
    Traceback (most recent call last):
    ...
    softmax_jax.errors.UserError: no normalizer is called 'softmx'; nearest: softmax, \
softmax1, t_softmax
    """
    classes = {name: row.cls for name, row in CATALOGUE.items()}
    return instance_of(spec, "normalizer", Normalizer, classes)


def parse_query_scale(spec: str | QueryScale) -> QueryScale:
    """The query scale that a spec string describes, in the same grammar.

    >>> parse_query_scale("log_length(scale=0.43)")
    LogLength(scale=0.43, bias=0.0)
    """
    return instance_of(spec, "query_scale", QueryScale, QUERY_SCALES)


def table() -> list[dict[str, str]]:
    """The catalogue as text, a row each, for printing."""
    return [
        {
            "name": row.name,
            "family": row.family,
            "tags": ", ".join(sorted(row.cls.tags)),
            **_described(row.cls),
        }
        for row in CATALOGUE.values()
    ]


def query_scale_table() -> list[dict[str, str]]:
    """The query scales as text, a row each, for printing."""
    return [{"name": name, **_described(cls)} for name, cls in QUERY_SCALES.items()]


def _described(cls: type[Parametrised]) -> dict[str, str]:
    """What `table` says of one class."""
    defaults = cls()
    values = {name: getattr(defaults, name) for name in settable(cls)}
    return {
        "formula": cls.formula,
        "parameters": ", ".join(
            f"{name}={value:g}" if isinstance(value, float) else f"{name}={value}"
            for name, value in values.items()
        ),
        "paper": cls.paper,
    }


def instance_of(
    spec: str | Kind, what: str, kind: type[Kind], classes: Mapping[str, type[Kind]]
) -> Kind:
    """The checked instance of `kind` that the spec is or describes."""
    if isinstance(spec, kind):
        spec.check()
        return spec
    if not isinstance(spec, str):
        raise UserError(
            f"{what} must be a spec string or a {kind.__name__} instance, got {spec!r}"
        )
    name, arguments = _parse_call(spec)
    if name not in classes:
        raise UserError(
            f"no {what.replace('_', ' ')} is called {name!r}; {_nearest(name, classes)}"
        )
    allowed = settable(classes[name])
    for argument in arguments:
        if argument not in allowed:
            raise UserError(
                f"{name} has no parameter {argument!r}; {_nearest(argument, allowed)}"
            )
    instance = classes[name](**arguments)
    instance.check()
    return instance


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
