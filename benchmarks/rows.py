"""Sparse rows against the PyTorch package entmax: its sort, top-k and bisection."""

import functools
import importlib.util
import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from rich.table import Table

import softmax_jax as sj
from benchmarks.report import compare
from benchmarks.timing import Contestant, compiled, forward_and_backward

MISSING = (
    "The comparison with the PyTorch package entmax was left out: it needs the "
    "packages torch and entmax."
)
# Twice the support of 50 that the widest of these rows has, as its documentation asks.
TOP = 100


def tables(
    shapes: Sequence[tuple[int, int]] = ((64, 32_000), (4096, 512)), rounds: int = 20
) -> Iterator[Table | str]:
    """One table per normalizer and shape; one sentence where PyTorch is missing."""
    if not all(map(importlib.util.find_spec, ("torch", "entmax"))):
        yield MISSING
        return
    for shape in shapes:
        rng = np.random.default_rng(0)
        x, cotangent = rng.normal(size=(2, *shape)).astype(np.float32)
        for name, (ours, theirs) in duels().items():
            peers = [
                Contestant(f"entmax {method}", torch_run(f, x, cotangent), is_peer=True)
                for method, f in theirs.items()
            ]
            own = [
                compiled(
                    f"sj.{function}",
                    forward_and_backward(f),
                    jnp.asarray(x),
                    jnp.asarray(cotangent),
                )
                for function, f in ours.items()
            ]
            yield compare(f"{name}, rows {shape}, float32", peers + own, rounds)


def duels() -> dict[str, tuple[dict[str, Callable], dict[str, Callable]]]:
    """Our functions and theirs, by the map that they compute."""
    import entmax

    def bisection(alpha: float) -> Callable:
        return lambda x: entmax.entmax_bisect(x, alpha, -1)

    def general(alpha: float) -> Callable[..., jax.Array]:
        return functools.partial(sj.entmax, alpha=alpha)

    return {
        "Sparsemax": (
            {"sparsemax": sj.sparsemax},
            {
                "sort": lambda x: entmax.sparsemax(x, -1),
                "top-k": lambda x: entmax.sparsemax(x, -1, k=TOP),
                "bisection": lambda x: entmax.sparsemax_bisect(x, -1),
            },
        ),
        "Entmax-1.5": (
            {"entmax15": sj.entmax15, "entmax(alpha=1.5)": general(1.5)},
            {
                "sort": lambda x: entmax.entmax15(x, -1),
                "top-k": lambda x: entmax.entmax15(x, -1, k=TOP),
                "bisection": bisection(1.5),
            },
        ),
        "Entmax-1.25": (
            {"entmax(alpha=1.25)": general(1.25)},
            {"bisection": bisection(1.25)},
        ),
    }


def torch_run(f: Callable, x: np.ndarray, cotangent: np.ndarray) -> Callable[[], Any]:
    """A run of f forward and backward in PyTorch, on all cores as XLA uses them."""
    import torch

    torch.set_num_threads(os.cpu_count() or 1)
    operand = torch.tensor(x, requires_grad=True)
    pulled = torch.tensor(cotangent)

    def run() -> Any:
        operand.grad = None
        f(operand).backward(pulled)
        return operand.grad

    return run
