"""Contestants timed in turns, in one process, so that a busy machine hits all alike."""

import dataclasses
import time
from collections.abc import Callable
from typing import Any

import jax
from jax import Array


@dataclasses.dataclass(frozen=True)
class Contestant:
    """Something to time: `run` returns when its results are there."""

    name: str
    run: Callable[[], Any]
    is_peer: bool = False
    compile_seconds: float | None = None
    temp_bytes: int | None = None


def compiled(
    name: str, function: Callable[..., Any], *arguments: Array, is_peer: bool = False
) -> Contestant:
    """`function` as one XLA program over `arguments`, compiled before the race."""
    start = time.perf_counter()
    program = jax.jit(function).lower(*arguments).compile()
    seconds = time.perf_counter() - start
    return Contestant(
        name,
        lambda: jax.block_until_ready(program(*arguments)),
        is_peer=is_peer,
        compile_seconds=seconds,
        temp_bytes=program.memory_analysis().temp_size_in_bytes,
    )


def forward_and_backward(function: Callable[..., Array]) -> Callable[..., Any]:
    """(*operands, cotangent) to the output and the cotangents of the operands."""

    def both(*arguments: Array) -> tuple[Array, tuple[Array, ...]]:
        *operands, cotangent = arguments
        output, pull = jax.vjp(function, *operands)
        return output, pull(cotangent)

    return both


def race(contestants: list[Contestant], rounds: int) -> dict[str, list[float]]:
    """The seconds of every contestant in each of `rounds` rounds, after a warm-up."""
    seconds: dict[str, list[float]] = {c.name: [] for c in contestants}
    for i in range(rounds + 1):
        for contestant in contestants:
            start = time.perf_counter()
            contestant.run()
            if i:
                seconds[contestant.name].append(time.perf_counter() - start)
    return seconds


def speedup(own: list[float], peer: list[float]) -> tuple[float, float, float]:
    """How many times faster: by the best of each, and the extremes within one round.

    The best is the time without the noise, which only ever adds.
    """
    rounds = [theirs / ours for ours, theirs in zip(own, peer, strict=True)]
    return min(peer) / min(own), min(rounds), max(rounds)
