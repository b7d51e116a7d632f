"""How a normalizer declares its parameters, and the one check of their values."""

import dataclasses
import numbers
from typing import Any

from softmax_jax.errors import UserError

INFINITY = float("inf")


@dataclasses.dataclass(frozen=True)
class Parameter:
    """What is known of one parameter: a scalar quantity with a default.

    `bounds` is an open interval: a number given by hand is checked against it, and a
    learned parameter is kept inside it. `learned` says whether a model learns it unless
    told otherwise, and `per_head` whether it then holds one per head, or one.
    """

    default: float
    bounds: tuple[float, float] = (-INFINITY, INFINITY)
    learned: bool = True
    per_head: bool = True


def parameter(
    default: float,
    *,
    bounds: tuple[float, float] = (-INFINITY, INFINITY),
    learned: bool = True,
    per_head: bool = True,
) -> Any:
    """Declares a field of a normalizer as a differentiable leaf.

    Every field declared without it is static: hashable, and part of the type of
    computation rather than of its data.
    """
    declared = Parameter(float(default), bounds, learned, per_head)
    return dataclasses.field(default=default, metadata={"parameter": declared})


def declared_parameters(normalizer: Any) -> dict[str, Parameter]:
    """The parameters that a normalizer, or its class, declares, by name."""
    return {
        field.name: field.metadata["parameter"]
        for field in dataclasses.fields(normalizer)
        if "parameter" in field.metadata
    }


def check_bounds(normalizer: Any) -> None:
    """Refuses a number outside its bounds; arrays are left to the computation."""
    for name, declared in declared_parameters(normalizer).items():
        value = getattr(normalizer, name)
        low, high = declared.bounds
        if isinstance(value, numbers.Real) and not low < float(value) < high:
            raise UserError(
                f"{type(normalizer).__name__}: {name} must lie strictly between "
                f"{low:g} and {high:g}, got {value:g}"
            )
