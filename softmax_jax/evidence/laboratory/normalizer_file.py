"""The normalizer that a user names: a class in a file of theirs, or a catalogue row."""

import traceback
from pathlib import Path
from types import ModuleType

import softmax_jax as sj
from softmax_jax.catalogue import instance_of
from softmax_jax.errors import UserError
from softmax_jax.evidence.locate import load_module, nearest

FORM = "write FILE.py:Class or FILE.py:Class(field=2.0)"


def find_normalizer(target: str) -> sj.Normalizer:
    """The instance that `FILE.py:Class(field=2.0)`, or a spec string, describes."""
    given, colon, call = target.partition(":")
    path = Path(given)
    if not colon and path.suffix != ".py":
        return sj.parse(target)
    if not path.is_file():
        raise UserError(f"there is no file {given!r}; {FORM}")
    module = run_file(path)
    name = call.partition("(")[0].strip()
    classes = {
        key: value
        for key, value in vars(module).items()
        if isinstance(value, type) and issubclass(value, sj.Normalizer)
    }
    own = [key for key in classes if classes[key].__module__ == module.__name__]
    if not name:
        raise UserError(f"{FORM}; {given} has {', '.join(own) or 'no normalizer'}")
    if not hasattr(module, name):
        raise UserError(f"{given} has no class {name!r}; {nearest(name, own)}")
    if name not in classes:
        raise UserError(
            f"{name} in {given} is no normalizer; derive it from sj.Ratio, "
            "sj.Threshold or sj.Elementwise"
        )
    try:
        return instance_of(call, "normalizer", sj.Normalizer, classes)
    except TypeError as error:  # a method or the default of a field is missing
        raise UserError(f"{name} in {given} cannot be made: {error}") from None


def run_file(path: Path) -> ModuleType:
    """Runs the file; its own mistake is one sentence with the line it stands on."""
    try:
        return load_module(path)
    except Exception as error:
        if isinstance(error, SyntaxError):
            line = error.lineno
        else:
            frames = traceback.extract_tb(error.__traceback__)
            here = [f.lineno for f in frames if f.filename == str(path.resolve())]
            line = here[-1] if here else None
        place = f"{path}, line {line}" if line else f"{path}"
        raise UserError(f"{place}: {one_line(error)}") from None


def one_line(error: Exception) -> str:
    """The kind of an error and the first line of what it says."""
    said = getattr(error, "msg", None) if isinstance(error, SyntaxError) else str(error)
    first = (said or "").strip().partition("\n")[0]
    return f"{type(error).__name__}: {first}" if first else type(error).__name__
