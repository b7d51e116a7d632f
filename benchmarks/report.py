"""One race as one table."""

from rich.table import Table

from benchmarks.timing import Contestant, race, speedup


def compare(title: str, contestants: list[Contestant], rounds: int) -> Table:
    """Races the contestants and puts them beside the fastest of the peers."""
    seconds = race(contestants, rounds)
    peers = [c.name for c in contestants if c.is_peer]
    peer = min(peers, key=lambda name: min(seconds[name]))
    table = Table(title=title, title_justify="left")
    table.add_column("forward and backward", no_wrap=True)
    for header in ("best ms", "times faster", "per round", "temp MiB", "compile s"):
        table.add_column(header, justify="right")
    for contestant in contestants:
        best, low, high = speedup(seconds[contestant.name], seconds[peer])
        is_compiled = contestant.temp_bytes is not None
        table.add_row(
            contestant.name,
            f"{1e3 * min(seconds[contestant.name]):.1f}",
            "peer" if contestant.name == peer else f"{best:.2f}",
            "" if contestant.name == peer else f"{low:.2f}-{high:.2f}",
            f"{contestant.temp_bytes / 2**20:.0f}" if is_compiled else "",
            f"{contestant.compile_seconds:.1f}" if is_compiled else "",
        )
    return table
