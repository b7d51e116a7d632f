"""Writes the tables of README.md that come from the project itself: make readme."""

from pathlib import Path

import softmax_jax as sj

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"


def markdown(header: list[str], rows: list[list[str]]) -> str:
    """Returns a Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
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


def results() -> str:
    """Returns the verdicts in the stored report of every experiment."""
    parts = []
    for report in sorted(ROOT.glob("experiments/*/results.md")):
        title, _, rest = report.read_text().removeprefix("# ").partition("\n")
        verdicts = rest.partition("## Verdicts\n\n")[2].partition("\n\n")[0]
        link = report.relative_to(ROOT).as_posix()
        parts.append(f"### [{title}]({link})\n\n{verdicts.rstrip()}")
    return "\n\n".join(parts) or "Not measured yet."


def regenerate(text: str) -> str:
    """Returns the text with the content of every generated block made anew."""
    for table in (catalogue, results):
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
