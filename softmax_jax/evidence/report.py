"""An experiment in Markdown: every arm's numbers, every claim with its verdict."""

import math
from collections.abc import Sequence

from softmax_jax.evidence import results
from softmax_jax.evidence.claims import Claim
from softmax_jax.evidence.experiment import Experiment, by_seed
from softmax_jax.evidence.results import Result
from softmax_jax.evidence.studies.registry import STUDIES
from softmax_jax.evidence.verdict import Interval, Verdict, judge, t_interval


def verdicts(
    experiment: Experiment, found: Sequence[Result]
) -> list[tuple[Claim, Verdict | None]]:
    """Every claim with its verdict; None where this size does not judge it."""
    judged = []
    for claim in experiment.claims:
        verdict = None
        if experiment.size in claim.sizes:
            treatment = by_seed(found, claim.study, claim.treatment, claim.metric)
            control = None
            if claim.control is not None:
                control = by_seed(found, claim.study, claim.control, claim.metric)
            verdict = judge(claim, treatment, control)
        judged.append((claim, verdict))
    return judged


def summary(experiment: Experiment, found: Sequence[Result]) -> str:
    """The numbers of every arm and the verdicts, without the fine print."""
    parts = [
        f"# {experiment.name}, size {experiment.size}",
        *_warnings(experiment, found),
    ]
    for study in STUDIES:
        ours = [result for result in found if result.study == study]
        if ours:
            parts += [f"## {study}: mean ± 95 % half-width over seeds", *_tables(ours)]
    parts += ["## Verdicts", _verdict_table(experiment, found)]
    return "\n\n".join(parts) + "\n"


def markdown(experiment: Experiment, found: Sequence[Result]) -> str:
    """The whole report."""
    parts = [summary(experiment, found).rstrip(), "## Claims"]
    parts += [_claim(claim) for claim in experiment.claims]
    samples = [result for result in found if result.sample]
    if samples:
        parts.append("## Samples")
    for result in samples:
        title = f"{result.study} {result.arm}, seed {result.seed}:"
        parts.append(f"{title}\n\n```text\n{result.sample}\n```")
    parts += ["## How it was measured", _provenance(found)]
    return "\n\n".join(parts) + "\n"


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _warnings(experiment: Experiment, found: Sequence[Result]) -> list[str]:
    now = results.sha256(experiment.claims_file)
    if all(result.claims_sha256 == now for result in found):
        return []
    return [
        f"**{experiment.claims_file.name} was edited after the run: its verdicts are "
        "not those that were fixed beforehand.**"
    ]


def _tables(found: Sequence[Result]) -> list[str]:
    """One table per metric that is measured at several points, one for all others."""
    names = dict.fromkeys(name for result in found for name in result.metrics)
    groups: dict[str, list[str]] = {}
    for name in names:
        title, at, _ = name.partition("@")
        groups.setdefault(title if at else "", []).append(name)
    arms = dict.fromkeys(result.arm for result in found)
    made = []
    for title, columns in groups.items():
        header = [title or "arm", *(name.partition("@")[2] or name for name in columns)]
        study = found[0].study
        rows = [
            [
                arm,
                *(_cell(list(by_seed(found, study, arm, c).values())) for c in columns),
            ]
            for arm in arms
        ]
        made.append(table(header, rows))
    return made


def _cell(values: Sequence[float]) -> str:
    if not values:
        return ""
    interval = t_interval(values)
    spread = interval.half_width
    end = f" ± {_number(spread)}" if math.isfinite(spread) else ""
    return _number(interval.mean) + end


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3f}"


def _verdict_table(experiment: Experiment, found: Sequence[Result]) -> str:
    rows = []
    for claim, verdict in verdicts(experiment, found):
        if verdict is None:
            at = f" (judged at {', '.join(claim.sizes)})" if claim.sizes else ""
            rows.append([claim.name, claim.setting, claim.status + at, "", "", ""])
            continue
        sign = ">" if claim.control is not None or claim.direction == "higher" else "<"
        effect, smallest = _effect(claim, verdict.interval)
        word = f"**{verdict.word}**: {verdict.reason}"
        margin = f"{sign} {claim.margin:g}"
        rows.append([claim.name, claim.setting, word, effect, margin, smallest])
    header = ["claim", "setting", "verdict", "effect, 95 % interval", "margin"]
    return table([*header, "smallest visible effect"], rows)


def _effect(claim: Claim, interval: Interval | None) -> tuple[str, str]:
    """The effect and its half-width; without a control, the number as measured."""
    if interval is None:
        return "", ""
    mean, low, high = interval.mean, interval.low, interval.high
    if claim.control is None and claim.direction == "lower":
        mean, low, high = -mean, -high, -low
    if claim.exact:
        return f"{mean:.4g}", ""
    span = f"{mean:.3f} [{low:.3f}, {high:.3f}]"
    return f"{span}, {interval.n} seeds", f"{interval.half_width:.3f}"


def _claim(claim: Claim) -> str:
    read = "read in the source" if claim.verified else "not verified in the source"
    source = (
        f"{claim.source}; {read}"
        if claim.source
        else "our own control, not the paper's"
    )
    lines = [f"- **{claim.name}** ({claim.status}). {claim.says} ({source}.)"]
    if claim.treatment:
        alone = claim.control is None
        against = "" if alone else f" against {claim.control}"
        lines.append(
            f"  Test: {claim.metric} of {claim.treatment}{against} in {claim.study}, "
            f"{claim.direction} {'than' if alone else 'by'} {claim.margin:g}"
            f"{', exact' if claim.exact else ''}."
        )
    return "\n".join([*lines, f"  {claim.why}"])


def _provenance(found: Sequence[Result]) -> str:
    lines = []
    for environment in {
        str(result.environment["git"]): result.environment for result in found
    }.values():
        git, packages = environment["git"], environment["packages"]
        dirty = " with uncommitted changes" if git["dirty"] else ""
        versions = ", ".join(f"{name} {version}" for name, version in packages.items())
        lines.append(f"- revision {git['revision']}{dirty}; {versions}")
    seconds = sum(result.seconds for result in found)
    seeds = sorted({result.seed for result in found})
    hashes = sorted({result.claims_sha256[:12] for result in found})
    lines.append(f"- {len(found)} arms and seeds (seeds {seeds}) in {seconds:.0f} s")
    lines.append(f"- sha256 of the claims when it was run: {', '.join(hashes)}")
    return "\n".join(lines)
