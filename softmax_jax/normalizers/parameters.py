"""Classes whose fields are parameters: how they are declared, checked and traversed."""

import dataclasses
import numbers
from typing import Any, ClassVar, Literal

import jax

from softmax_jax.errors import UserError

INFINITY = float("inf")


@dataclasses.dataclass(frozen=True)
class Parameter:
    """What is known of one parameter: a scalar quantity with a default.

    `bounds` is an interval, open unless `closed`: a number given by hand is checked
    against it, and a learned parameter is kept inside it. `learned` says whether a
    model learns it unless told otherwise, and `per_head` whether it then holds one per
    head, or one.
    """

    default: float
    bounds: tuple[float, float] = (-INFINITY, INFINITY)
    closed: bool = False
    learned: bool = True
    per_head: bool = True

    def allows(self, value: float) -> bool:
        low, high = self.bounds
        return low <= value <= high if self.closed else low < value < high

    def __str__(self) -> str:
        low, high = self.bounds
        return f"{'' if self.closed else 'strictly '}between {low:g} and {high:g}"


def parameter(
    default: float,
    *,
    bounds: tuple[float, float] = (-INFINITY, INFINITY),
    closed: bool = False,
    learned: bool = True,
    per_head: bool = True,
) -> Any:
    """Declares a field as a differentiable leaf.

    Every field declared without it is static: hashable, and part of the type of
    computation rather than of its data.
    """
    declared = Parameter(float(default), bounds, closed, learned, per_head)
    return dataclasses.field(default=default, metadata={"parameter": declared})


def row_statistic(*, init: Literal[False] = False) -> Any:
    """Declares a leaf that `rows` fills in, from the scores of each row."""
    return dataclasses.field(
        default=None, init=init, repr=False, metadata={"row_statistic": True}
    )


class Parametrised:
    """A subclass becomes a frozen, keyword-only dataclass and a pytree by itself."""

    __dataclass_fields__: ClassVar[dict[str, Any]]
    formula: ClassVar[str] = ""
    paper: ClassVar[str] = ""

    def __init_subclass__(cls, **kwargs) -> None:
        super().__init_subclass__(**kwargs)
        dataclasses.dataclass(frozen=True, kw_only=True)(cls)
        _register_pytree(cls)

    def check(self) -> None:
        """Refuses a number outside its bounds; arrays are left to the computation."""
        for name, declared in declared_parameters(self).items():
            value = getattr(self, name)
            if isinstance(value, numbers.Real) and not declared.allows(float(value)):
                raise UserError(
                    f"{type(self).__name__}: {name} must lie {declared}, got {value:g}"
                )

    def fill(self, **leaves: Any) -> Any:
        """This instance with other leaves, row statistics among them."""
        filled = object.__new__(type(self))
        for field in dataclasses.fields(self):
            value = leaves.get(field.name, getattr(self, field.name))
            object.__setattr__(filled, field.name, value)
        return filled


def declared_parameters(owner: Any) -> dict[str, Parameter]:
    """The parameters that an instance, or its class, declares, by name."""
    return {
        field.name: field.metadata["parameter"]
        for field in dataclasses.fields(owner)
        if "parameter" in field.metadata
    }


def settable(owner: Any) -> list[str]:
    """The fields that a caller may give: all but the row statistics."""
    return [field.name for field in dataclasses.fields(owner) if field.init]


def _register_pytree(cls: type) -> None:
    """Parameters and row statistics are the leaves, all other fields are static.

    Not `jax.tree_util.register_dataclass`: structures registered by it are equal
    whatever their class (jax 0.10 to 0.12), and jit may then, when two hashes are
    close, run what it compiled for another normalizer.
    """
    names = [field.name for field in dataclasses.fields(cls)]
    leaves = [field.name for field in dataclasses.fields(cls) if field.metadata]
    static = [name for name in names if name not in leaves]

    def flatten_with_keys(instance):
        keys = map(jax.tree_util.GetAttrKey, leaves)
        children = [getattr(instance, name) for name in leaves]
        return list(zip(keys, children, strict=True)), aux(instance)

    def aux(instance):
        return tuple(getattr(instance, name) for name in static)

    def flatten(instance):
        return [getattr(instance, name) for name in leaves], aux(instance)

    def unflatten(values, children):
        instance = object.__new__(cls)
        for name, value in zip((*leaves, *static), (*children, *values), strict=True):
            object.__setattr__(instance, name, value)
        return instance

    jax.tree_util.register_pytree_with_keys(cls, flatten_with_keys, unflatten, flatten)
