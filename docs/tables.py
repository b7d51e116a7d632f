"""Writes the tables of README.md that come from the project itself: make readme."""

import re
from collections import Counter
from pathlib import Path

import softmax_jax as sj
from softmax_jax.catalogue import query_scale_table

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"


def markdown(header: list[str], rows: list[list[str]]) -> str:
    """Returns a Markdown table."""
    escaped = [[cell.replace("|", r"\|") for cell in row] for row in rows]
    lines = [header, ["---"] * len(header), *escaped]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def catalogue() -> str:
    """Returns the table of normalizers."""
    rows = [
        [
            f"`{row['name']}`",
            f"`{row['formula']}`",
            row["family"],
            f"`{row['parameters']}`" if row["parameters"] else "",
            row["paper"],
        ]
        for row in sj.table()
    ]
    return markdown(["name", "weight", "family", "parameters", "paper"], rows)


def query_scales() -> str:
    """Returns the table of query scales."""
    rows = [
        [
            f"`{row['name']}`",
            f"`{row['formula']}`",
            f"`{row['parameters']}`",
            row["paper"],
        ]
        for row in query_scale_table()
    ]
    return markdown(["name", "multiplier", "parameters", "paper"], rows)


def results() -> str:
    """Returns how many claims came out how, for every stored report."""
    rows = []
    for report in sorted(ROOT.glob("experiments/*/results.md")):
        title, _, rest = report.read_text().removeprefix("# ").partition("\n")
        table = rest.partition("## Verdicts\n\n")[2].partition("\n\n")[0]
        cells = [line.split("|")[3] for line in table.splitlines()[2:]]
        verdicts = Counter(re.findall(r"[ *]*([\w ]*\w)", cell)[0] for cell in cells)
        told = ", ".join(f"{count} {verdict}" for verdict, count in verdicts.items())
        link = report.relative_to(ROOT).as_posix()
        rows.append([f"[{title}]({link})", told.replace("_", " ")])
    return markdown(["experiment", "its claims"], rows)


def regenerate(text: str) -> str:
    """Returns the text with the content of every generated block made anew."""
    for table in (catalogue, query_scales, results):
        name = table.__name__
        begin, end = f"<!-- {name}: make readme -->", f"<!-- end of {name} -->"
        before, opened, rest = text.partition(begin)
        _, closed, after = rest.partition(end)
        if not (opened and closed):
            raise ValueError(f"README.md needs the block {begin} ... {end}")
        text = f"{before}{begin}\n\n{table()}\n\n{end}{after}"
    return text


if __name__ == "__main__":
    README.write_text(regenerate(README.read_text()))
