"""softmax-jax run | train | compile | report | list | check | doctor."""

import argparse
import ast
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
from ml_collections import ConfigDict
from rich.console import Console
from rich.markdown import Markdown
from rich.table import Table

import softmax_jax as sj
from softmax_jax.catalogue import query_scale_table
from softmax_jax.errors import UserError
from softmax_jax.evidence import doctor, experiment, locate, report, results
from softmax_jax.evidence.laboratory import examination, tpu_compiler
from softmax_jax.evidence.studies import registry
from softmax_jax.training import compiled, distributed
from softmax_jax.training.config import RunConfig, from_mapping
from softmax_jax.training.loop import fit

INTERRUPTED = "Interrupted; what is finished is kept, and the same command goes on."
NEXT = """
Next:
  {command} run scalable_softmax --size quick --seeds 3
  {command} train configs/lm.py --config.model.normalizer="entmax(alpha=1.25)"
  {command} list
"""


class Parser(argparse.ArgumentParser):
    """Collects `--config.a.b=value` in `overrides`; everything else is argparse."""

    def parse_known_args(
        self, args: Any = None, namespace: Any = None
    ) -> tuple[Any, list[str]]:
        namespace, rest = super().parse_known_args(args, namespace)
        if hasattr(namespace, "overrides"):
            ours = [
                word for word in rest if word.startswith("--config.") and "=" in word
            ]
            namespace.overrides = [*namespace.overrides, *ours]
            rest = [word for word in rest if word not in ours]
        return namespace, rest


def build_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = Parser(
        prog="softmax-jax", description="Softmax and its successors in JAX."
    )
    commands = parser.add_subparsers(dest="command", required=True)
    run = commands.add_parser("run", help="run an experiment, or what is left of it")
    run.add_argument("experiment", help="folder name, such as scalable_softmax")
    run.add_argument("--size", default="quick", help="demo, quick, small or paper")
    run.add_argument("--seeds", type=int, default=3)
    run.add_argument("--first-seed", type=int, default=0)
    run.set_defaults(function=_run, overrides=[])
    train = commands.add_parser("train", help="train one model")
    train.add_argument("config", help="a file and perhaps a size: configs/lm.py:quick")
    train.add_argument(
        "--distributed", action="store_true", help="join the processes of this job"
    )
    train.set_defaults(function=_train, overrides=[])
    compiled_ = commands.add_parser("compile", help="for chips that are not here")
    compiled_.add_argument(
        "config",
        help="a training step, as for train, or of an experiment: "
        "scalable_softmax:paper; with --target a normalizer, as for check",
    )
    chips = compiled_.add_mutually_exclusive_group(required=True)
    chips.add_argument("--topology", help="of a training step, such as v5p:8x8x8")
    chips.add_argument("--target", help="of attention: v5e, v5p, v6e or tpu7x")
    compiled_.set_defaults(function=_compile, overrides=[])
    shown = commands.add_parser("report", help="tables, verdicts and figures of a run")
    shown.add_argument("experiment")
    shown.add_argument("--size", default=None, help="default: the one run last")
    shown.set_defaults(function=_report)
    for command in (run, shown, compiled_):
        command.add_argument("--experiments", type=Path, help="where experiments are")
    listed = commands.add_parser("list", help="the catalogue of normalizers")
    listed.set_defaults(function=_list)
    checked = commands.add_parser("check", help="a normalizer before every law")
    checked.add_argument(
        "normalizer", help="FILE.py:Class, FILE.py:Class(field=2.0), or a spec"
    )
    checked.set_defaults(function=_check)
    doctor_ = commands.add_parser("doctor", help="versions, devices, texts, a compile")
    doctor_.set_defaults(function=_doctor)
    for command in (run, train, shown, checked, doctor_, compiled_):
        command.add_argument("--folder", type=Path, default=Path("runs"))
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command; what the user can mend is one sentence and exit status 2."""
    arguments = build_parser().parse_args(argv)
    try:
        status = arguments.function(arguments)
    except UserError as error:
        sys.stderr.write(f"softmax-jax: {error}\n")
        return 2
    except KeyboardInterrupt:
        sys.stderr.write(f"{INTERRUPTED}\n")
        return 130
    return status or 0


def _run(arguments: argparse.Namespace) -> None:
    planned = _experiment(arguments, arguments.size, arguments.overrides)
    experiment.run(planned, arguments.seeds, arguments.first_seed)
    found = results.read_all(planned.folder)
    report_path, drawn = _write_report(planned, found)
    _show(report.summary(planned, found))
    for result in found:
        if result.sample:
            _show(f"{result.arm} writes:\n\n```text\n{result.sample}\n```")
    paths = "".join(f"  {path}\n" for path in (*drawn[:1], report_path))
    sys.stdout.write(f"\nFigure and report:\n{paths}")
    if arguments.size == "demo":
        # As it was called: the command need not be on the PATH.
        sys.stdout.write(NEXT.format(command=sys.argv[0]))


def _report(arguments: argparse.Namespace) -> None:
    size = arguments.size or _last_size(arguments.folder / arguments.experiment)
    planned = _experiment(arguments, size, [])
    found = results.read_all(planned.folder)
    if not found:
        raise UserError(f"{planned.folder} holds no finished arm; use softmax-jax run")
    _write_report(planned, found)
    sys.stdout.write(report.markdown(planned, found))


def _train(arguments: argparse.Namespace) -> None:
    if arguments.distributed:
        distributed.initialize()
    config, name = _run_config(arguments)
    folder = arguments.folder / name
    result = fit(config, folder)
    if not result.completed:
        raise KeyboardInterrupt
    if jax.process_index() == 0:
        for name, value in result.metrics.items():
            sys.stdout.write(f"{name:20} {value:,.4f}\n")
        sys.stdout.write(f"{'folder':20} {folder}\n")


def _compile(arguments: argparse.Namespace) -> None:
    if arguments.target is not None:
        for line in tpu_compiler.report(arguments.config, arguments.target):
            sys.stdout.write(f"{line}\n")
            sys.stdout.flush()
        return
    for title, config in _run_configs(arguments).items():
        found = compiled.compile_step(config, arguments.topology)
        for name, value in (found.lines() | {"of": title}).items():
            sys.stdout.write(f"{name:20} {value}\n")


def _run_configs(arguments: argparse.Namespace) -> dict[str, RunConfig]:
    """The one of a file, or those of the arms of an experiment that are trained."""
    given, _, size = arguments.config.partition(":")
    if Path(given).suffix == ".py":
        return {arguments.config: _run_config(arguments)[0]}
    arguments.experiment = given
    planned = _experiment(arguments, size or "quick", arguments.overrides)
    found = {
        f"{given} {arm.study} {arm.name}": arm.config.run
        for arm in experiment.arms(planned)
        if isinstance(getattr(arm.config, "run", None), RunConfig)
        and getattr(arm.config, "parameters_from", None) is None
    }
    if not found:
        raise UserError(f"{arguments.config} trains nothing that is meant for a pod.")
    return found


def _run_config(arguments: argparse.Namespace) -> tuple[RunConfig, str]:
    """The configuration that FILE.py:SIZE and the overrides make, and its name."""
    given, _, size = arguments.config.partition(":")
    path = locate.find_config(given)
    settings = _settings(path, size or "quick", arguments.overrides)
    return from_mapping(RunConfig, settings), "-".join((path.stem, size or "quick"))


def _list(arguments: argparse.Namespace) -> None:
    for title, table in (
        ("Normalizers", sj.table()),
        ("Query scales", query_scale_table()),
    ):
        columns = [name for name in table[0] if name != "tags"]
        shown = Table(*columns, title=title)
        for row in table:
            shown.add_row(*(row[column] for column in columns))
        Console().print(shown)


def _check(arguments: argparse.Namespace) -> int:
    kept = examination.run(arguments.normalizer, arguments.folder / "check")
    return 0 if kept else 1


def _doctor(arguments: argparse.Namespace) -> None:
    for name, found in doctor.examine(arguments.folder):
        sys.stdout.write(f"{name:12} {found}\n")


def _experiment(
    arguments: argparse.Namespace, size: str, overrides: Sequence[str]
) -> experiment.Experiment:
    home = locate.find_experiment(arguments.experiment, arguments.experiments)
    claims_file = home / "claims.py"
    return experiment.Experiment(
        name=arguments.experiment,
        size=size,
        studies=_settings(home / "config.py", size, overrides),
        claims=tuple(locate.load_module(claims_file).CLAIMS),
        claims_file=claims_file,
        folder=arguments.folder / arguments.experiment / size,
    )


def _settings(path: Path, size: str, overrides: Sequence[str]) -> dict[str, Any]:
    """What get_config(size) in `path` returns, with the overrides put in."""
    try:
        config: ConfigDict = locate.load_module(path).get_config(size)
    except ValueError as error:
        raise UserError(str(error)) from None
    settings = config.to_dict()
    for override in overrides:
        key, _, text = override.removeprefix("--config.").partition("=")
        _put(settings, key, _value(text))
    return settings


def _put(settings: dict[str, Any], dotted: str, value: Any) -> None:
    """Sets one entry of existing groups; whoever reads it checks it."""
    *groups, last = dotted.split(".")
    place: Any = settings
    for depth, group in enumerate(groups):
        if not isinstance(place, Mapping) or group not in place:
            whole = ".".join(groups[: depth + 1])
            known = place if isinstance(place, Mapping) else ()
            hint = locate.nearest(group, known)
            raise UserError(f"--config.{dotted}: there is no {whole}; {hint}")
        place = place[group]
    if not isinstance(place, dict) or isinstance(place.get(last), Mapping):
        raise UserError(f"--config.{dotted}: only single settings can be given a value")
    place[last] = value


def _value(text: str) -> Any:
    """A Python literal if it is one, else the text itself."""
    named = {"true": True, "false": False, "none": None}
    if text.lower() in named:
        return named[text.lower()]
    try:
        return ast.literal_eval(text)
    except (SyntaxError, ValueError):
        return text


def _write_report(
    planned: experiment.Experiment, found: Sequence[results.Result]
) -> tuple[Path, list[Path]]:
    path = planned.folder / "report.md"
    drawn = registry.draw(found, planned.folder / "figures")
    path.write_text(report.markdown(planned, found))
    return path, drawn


def _last_size(folder: Path) -> str:
    """The size that wrote a result last."""
    written = sorted(folder.glob("*/*/*/seed-*/result.json"), key=_modified)
    if not written:
        raise UserError(f"{folder} holds no finished arm; use softmax-jax run")
    return written[-1].relative_to(folder).parts[0]


def _modified(path: Path) -> float:
    return path.stat().st_mtime


def _show(text: str) -> None:
    """Rendered on a terminal, plain elsewhere."""
    console = Console()
    if console.is_terminal:
        console.print(Markdown(text))
    else:
        sys.stdout.write(f"\n{text}\n")
