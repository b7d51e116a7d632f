"""Dataclasses from and to nested mappings of plain values; every key is checked."""

import dataclasses
import types
from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

from softmax_jax.errors import UserError

Config = TypeVar("Config")


def from_mapping(
    kind: type[Config], mapping: Mapping[str, Any], prefix: str = ""
) -> Config:
    """The dataclass `kind` from a nested mapping; every key and type is checked.

    The types of fields that depend on other settings are those that a classmethod
    `kinds(mapping)` of `kind` names.
    """
    described: Any = kind
    hints = _hints(kind, mapping)
    fields = {field.name: field for field in dataclasses.fields(described)}
    for key in mapping:
        if key not in fields:
            near = get_close_matches(key, fields) or sorted(fields)
            names = " or ".join(prefix + name for name in near)
            raise UserError(f"{prefix}{key} is not a setting; did you mean {names}?")
    values = {}
    for name, field in fields.items():
        if name in mapping:
            values[name] = _convert(mapping[name], hints[name], prefix + name)
        elif dataclasses.MISSING is field.default is field.default_factory:
            raise UserError(f"{prefix}{name} is missing.")
    return kind(**values)


def to_mapping(config: Any, prefix: str = "") -> dict[str, Any]:
    """The nested dictionary of a configuration, ready for JSON."""
    hints, mapping = _hints(type(config), vars(config)), {}
    for field in dataclasses.fields(config):
        value, key = getattr(config, field.name), prefix + field.name
        if dataclasses.is_dataclass(type(value)) and hints[field.name] is type(value):
            mapping[field.name] = to_mapping(value, key + ".")
        else:
            mapping[field.name] = _plain(value, key)
    return mapping


def _hints(kind: Any, mapping: Mapping[str, Any]) -> dict[str, Any]:
    """The types of the fields, given the values of the others."""
    own = kind.kinds(mapping) if hasattr(kind, "kinds") else {}
    return get_type_hints(kind) | own


def _plain(value: Any, key: str) -> Any:
    if isinstance(value, tuple):
        return [_plain(item, key) for item in value]
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise UserError(
        f"{key}={value!r} cannot be written to a file; give it as a string, "
        "such as 'ssmax(scale=0.43)'."
    )


def _convert(value: Any, kind: Any, key: str) -> Any:
    if dataclasses.is_dataclass(kind) and isinstance(value, Mapping):
        return from_mapping(kind, value, key + ".")
    try:
        return _as(value, kind)
    except TypeError:
        name = kind.__name__ if isinstance(kind, type) else kind
        raise UserError(f"{key}={value!r} should be of type {name}.") from None


def _as(value: Any, kind: Any) -> Any:
    """`value` as `kind`: an int may be a float and a list a tuple, nothing else."""
    if get_origin(kind) in (Union, types.UnionType):
        for member in get_args(kind):
            try:
                return _as(value, member)
            except TypeError:
                continue
    elif get_origin(kind) is tuple and isinstance(value, list | tuple):
        return tuple(_as(item, get_args(kind)[0]) for item in value)
    elif kind is float and type(value) is int:
        return float(value)
    elif isinstance(kind, type) and isinstance(value, kind):
        if kind is bool or not isinstance(value, bool):
            return value
    raise TypeError
