"""One JSON file per arm and seed: written at once and whole, never twice."""

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from softmax_jax.errors import UserError
from softmax_jax.training.metrics import replace_text


@dataclasses.dataclass(frozen=True)
class Result:
    """What one arm gave with one seed, and everything it depended on."""

    study: str
    arm: str
    seed: int
    metrics: Mapping[str, float]
    sample: str
    seconds: float
    config: Mapping[str, Any]
    claims_sha256: str
    environment: Mapping[str, Any]


def arm_folder(folder: Path, study: str, arm: str, seed: int) -> Path:
    """Where one arm with one seed keeps its result and its parameters."""
    return folder / study / arm / f"seed-{seed}"


def save(folder: Path, result: Result) -> None:
    """Writes `result` into the folder of its experiment."""
    target = arm_folder(folder, result.study, result.arm, result.seed)
    target.mkdir(parents=True, exist_ok=True)
    text = json.dumps(dataclasses.asdict(result), indent=2)
    replace_text(target / "result.json", text + "\n")


def finished(
    folder: Path, study: str, arm: str, seed: int, config: Mapping[str, Any]
) -> Result | None:
    """The result of an earlier run of the same configuration; None if there is none."""
    path = arm_folder(folder, study, arm, seed) / "result.json"
    if not path.exists():
        return None
    result = read(path)
    if result.config != config:
        raise UserError(
            f"{path.parent} holds a result of another configuration; choose another "
            "--folder, or delete it"
        )
    return result


def read(path: Path) -> Result:
    """The result in a file."""
    return Result(**json.loads(path.read_text()))


def read_all(folder: Path) -> list[Result]:
    """Every finished result of an experiment, seeds in order."""
    found = [read(path) for path in sorted(folder.glob("*/*/seed-*/result.json"))]
    return sorted(found, key=lambda result: (result.study, result.arm, result.seed))


def sha256(path: Path) -> str:
    """The hash of a file, to notice later edits."""
    return hashlib.sha256(path.read_bytes()).hexdigest()
