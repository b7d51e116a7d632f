"""An experiment: studies with arms, run seed by seed, and the claims they are for."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from softmax_jax.errors import UserError
from softmax_jax.evidence import results
from softmax_jax.evidence.claims import Claim
from softmax_jax.evidence.studies.registry import STUDIES
from softmax_jax.training.config import from_mapping, to_mapping
from softmax_jax.training.run_folder import environment


@dataclass(frozen=True)
class Experiment:
    """What is run in `folder`, for which claims, written in which file.

    `studies` maps a study to `{"base": settings, "arms": {name: differences}}` and
    perhaps `"most_seeds"`: an arm is its base with the differences put in.
    """

    name: str
    size: str
    studies: Mapping[str, Mapping[str, Any]]
    claims: tuple[Claim, ...]
    claims_file: Path
    folder: Path


@dataclass(frozen=True)
class Arm:
    """One arm of one study with its resolved configuration."""

    study: str
    name: str
    config: Any
    most_seeds: int | None


def arms(experiment: Experiment) -> list[Arm]:
    """Every arm of an experiment, its configuration checked, in the order to run.

    An arm that takes its parameters from another one comes after those that train.
    """
    found = []
    for study, definition in STUDIES.items():
        settings = experiment.studies.get(study, {"base": {}, "arms": {}})
        ours = []
        for name, differences in settings["arms"].items():
            mapping = merged(settings["base"], differences)
            try:
                config = from_mapping(definition.kind, mapping)
            except UserError as error:
                raise UserError(f"{study}.arms.{name}: {error}") from None
            ours.append(Arm(study, name, config, settings.get("most_seeds")))
        found += sorted(ours, key=_takes_parameters)
    return found


def _takes_parameters(arm: Arm) -> bool:
    return getattr(arm.config, "parameters_from", None) is not None


def merged(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """`base` with the entries of `over` put in, group by group."""
    whole = dict(base)
    for key, value in over.items():
        is_group = isinstance(value, Mapping) and isinstance(whole.get(key), Mapping)
        whole[key] = merged(whole[key], value) if is_group else value
    return whole


def run(experiment: Experiment, seeds: int, first: int = 0) -> list[results.Result]:
    """Runs what is not finished yet; every finished arm and seed is on disk at once.

    Seeds `first`, `first` + 1, ... are shared by all arms of a study: the same data
    and, where the shapes agree, the same initial parameters, so differences between
    arms are paired.
    """
    if seeds < 1:
        raise UserError(f"seeds must be at least 1, got {seeds}")
    if first < 0:
        raise UserError(f"the first seed must not be negative, got {first}")
    planned = arms(experiment)
    return [
        _one(experiment, arm, seed)
        for arm in planned
        for seed in range(first, first + min(seeds, arm.most_seeds or seeds))
    ]


def _one(experiment: Experiment, arm: Arm, seed: int) -> results.Result:
    config = to_mapping(arm.config)
    where = (experiment.folder, arm.study, arm.name, seed)
    found = results.finished(*where, config)
    if found is not None:
        return found
    label = f"{arm.study} {arm.name} seed {seed}"
    start = time.perf_counter()
    run_arm = STUDIES[arm.study].run
    outcome = run_arm(arm.config, seed, results.arm_folder(*where), label)
    result = results.Result(
        study=arm.study,
        arm=arm.name,
        seed=seed,
        metrics=outcome.metrics,
        sample=outcome.sample,
        seconds=time.perf_counter() - start,
        config=config,
        claims_sha256=results.sha256(experiment.claims_file),
        environment=environment(),
    )
    results.save(experiment.folder, result)
    return result


def by_seed(
    found: Sequence[results.Result], study: str, arm: str, metric: str
) -> dict[int, float]:
    """The values of one metric of one arm, by seed."""
    return {
        result.seed: result.metrics[metric]
        for result in found
        if (result.study, result.arm) == (study, arm) and metric in result.metrics
    }
