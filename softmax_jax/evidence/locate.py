"""Experiments and configurations are files: where they are, and how they are loaded."""

import difflib
import importlib.util
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import ModuleType

from softmax_jax.errors import UserError

CHECKOUT = Path(__file__).parents[2]


def find_experiment(name: str, folder: Path | None = None) -> Path:
    """The folder of an experiment, in `folder`, below the working directory, or in the
    checkout that the library was installed from."""
    places = [Path("experiments"), CHECKOUT / "experiments"]
    places = [folder] if folder is not None else places
    known = {
        path.parent.name: path.parent
        for place in reversed(places)
        for path in sorted(place.glob("*/config.py"))
    }
    if not known:
        looked = " and ".join(str(place) for place in places)
        raise UserError(
            f"there are no experiments in {looked}; run from a checkout of the project "
            "or give --experiments DIR"
        )
    if name not in known:
        raise UserError(f"no experiment is called {name!r}; {nearest(name, known)}")
    return known[name]


def find_config(given: str) -> Path:
    """The file of a configuration, from the working directory or the checkout."""
    for path in (Path(given), CHECKOUT / given):
        if path.is_file():
            return path
    known = sorted(path.name for path in (CHECKOUT / "configs").glob("*.py"))
    hint = f"; known: {', '.join(f'configs/{name}' for name in known)}" if known else ""
    raise UserError(f"there is no configuration file {given!r}{hint}")


def load_module(path: Path) -> ModuleType:
    """Runs a Python file; it can import its neighbours and those of the checkout."""
    path = path.resolve()
    spec = importlib.util.spec_from_file_location(
        f"{path.parent.name}_{path.stem}", path
    )
    if spec is None or spec.loader is None:
        raise UserError(f"{path} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their annotations up there
    before = list(sys.path)
    sys.path[:0] = [str(folder) for folder in (*path.parents[:3], CHECKOUT)]
    try:
        spec.loader.exec_module(module)
    finally:
        sys.path[:] = before
    return module


def nearest(word: str, known: Iterable[str]) -> str:
    """The end of a sentence about an unknown word."""
    names: Sequence[str] = list(known)
    close = difflib.get_close_matches(word, names)
    return f"nearest: {', '.join(close)}" if close else f"known: {', '.join(names)}"
