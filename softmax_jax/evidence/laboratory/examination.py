"""One normalizer under examination: the laws as a table, a summary, a picture."""

import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from softmax_jax.evidence.laboratory import response
from softmax_jax.evidence.laboratory.check import Finding, examine
from softmax_jax.evidence.laboratory.normalizer_file import find_normalizer, one_line

STYLES = {"holds": "green", "FAILS": "bold red", "no": "dim"}


def run(target: str, folder: Path) -> bool:
    """Examines what `target` names and writes what was found; True if all is kept."""
    normalizer = find_normalizer(target)
    sys.stdout.write(f"{normalizer}\n\n")
    console = Console()
    show = tabulate if console.is_terminal else write_lines
    findings = show(console, examine(normalizer))
    sys.stdout.write(f"\n{summary(findings)}\n")
    try:
        sys.stdout.write(f"Response curve: {response.draw(normalizer, folder)}\n")
    except Exception as error:  # of the normalizer; the laws have named it too
        sys.stdout.write(f"No response curve: {one_line(error)}\n")
    return not any(finding.fails for finding in findings)


def write_lines(console: Console, found: Iterable[Finding]) -> list[Finding]:
    """A line for each law as soon as it is tried, and one for its counterexample."""
    findings = []
    for finding in found:
        findings.append(finding)
        law = finding.law
        line = f"{finding.verdict:5}  {finding.standing:11}  {law.name:18}  "
        console.file.write(f"{line}{law.statement}\n")
        if finding.broken:
            console.file.write(f"{'':20}{finding.broken}\n")
        console.file.flush()
    return findings


def tabulate(console: Console, found: Iterable[Finding]) -> list[Finding]:
    """The same as a table, after a line that says which law was tried last."""
    findings = []
    table = Table("law", "statement", "standing", "verdict")
    with console.status("trying the laws") as status:
        for finding in found:
            findings.append(finding)
            status.update(f"{len(findings)} laws tried, the last: {finding.law.name}")
            verdict = Text(finding.verdict, STYLES[finding.verdict])
            if finding.broken:
                verdict.append(f": {finding.broken}", "" if finding.fails else "dim")
            law = finding.law
            table.add_row(law.name, law.statement, finding.standing, verdict)
    console.print(table)
    return findings


def summary(findings: Sequence[Finding]) -> str:
    """How many claims and promises hold, and what could be claimed besides."""
    counts = []
    for standing, name in (("tag", "claimed tags"), ("promise", "promises")):
        of_kind = [f for f in findings if f.standing == standing]
        kept = sum(not f.fails for f in of_kind)
        counts.append(f"{kept} of {len(of_kind)} {name}")
    spare = [
        f.law.name for f in findings if f.standing == "not claimed" and not f.broken
    ]
    text = f"{' and '.join(counts)} hold."
    return text + (f" Not claimed, yet holds: {', '.join(spare)}." if spare else "")
