"""What a run leaves beside its numbers: its configuration and where it ran."""

import json
import platform
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

import jax

from softmax_jax.errors import UserError
from softmax_jax.training.config import RunConfig, from_mapping, to_mapping
from softmax_jax.training.metrics import replace_text

PACKAGES = ("softmax-jax", "jax", "jaxlib", "flax", "optax", "orbax-checkpoint")
PACKAGES += ("grain", "numpy")

# Settings that do not change what is learned may differ when a run is resumed.
MAY_CHANGE = {"log_every", "eval_every", "eval_batches", "checkpoint_every", "keep"}
MAY_CHANGE |= {"stop_step", "watchdog", "profile"}


def open_run(folder: Path, config: RunConfig) -> None:
    """Makes the folder, or checks that the run in it had the same configuration.

    Every process checks; the first one writes.
    """
    folder.mkdir(parents=True, exist_ok=True)
    mapping = to_mapping(config)
    if (folder / "config.json").exists():
        before, now = _flat(_read(folder / "config.json")), _flat(mapping)
        may_change = {f"training.{name}" for name in MAY_CHANGE}
        keys = sorted((before.keys() | now.keys()) - may_change)
        keys = [key for key in keys if not key.startswith("mesh.")]
        changed = [key for key in keys if before.get(key) != now.get(key)]
        if changed:
            key = changed[0]
            raise UserError(
                f"{folder} holds a run with {key}={before.get(key)!r}, not "
                f"{now.get(key)!r} (differing: {', '.join(changed)}); choose another "
                "folder, or delete this one."
            )
    if jax.process_index() == 0:
        _write(folder / "config.json", mapping)


def note_environment(folder: Path, step: int) -> None:
    """Writes where the run goes on from `step`; every resumption has its own file."""
    if jax.process_index() != 0:
        return
    first = folder / "environment.json"
    path = folder / f"environment_from_step_{step}.json" if first.exists() else first
    _write(path, environment())


def read_config(folder: Path) -> RunConfig:
    """The resolved configuration of the run in `folder`."""
    if not (folder / "config.json").exists():
        raise UserError(f"{folder} is not the folder of a run: it has no config.json.")
    return from_mapping(RunConfig, _read(folder / "config.json"))


def environment() -> dict[str, Any]:
    """Python, platform, devices, package versions, git revision and command line."""
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "devices": [str(device) for device in jax.devices()],
        "packages": {name: _version(name) for name in PACKAGES},
        "git": {
            "revision": _git("rev-parse", "HEAD"),
            "dirty": bool(_git("status", "--porcelain")),
        },
        "argv": sys.argv,
    }


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _git(*arguments: str) -> str | None:
    """What git says about the source tree; None outside a repository."""
    command = ["git", "-C", str(Path(__file__).parent), *arguments]
    try:
        answer = subprocess.run(command, capture_output=True, text=True)
    except FileNotFoundError:
        return None
    return answer.stdout.strip() if answer.returncode == 0 else None


def _flat(mapping: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat = {}
    for key, value in mapping.items():
        is_group = isinstance(value, dict)
        flat |= _flat(value, f"{prefix}{key}.") if is_group else {prefix + key: value}
    return flat


def _read(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text())


def _write(path: Path, content: dict[str, Any]) -> None:
    replace_text(path, json.dumps(content, indent=2) + "\n")
