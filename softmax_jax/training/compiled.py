"""One training step through the compiler of chips that need not be here."""

import re
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import jax

from softmax_jax.errors import UserError
from softmax_jax.training import program as programs
from softmax_jax.training import tasks
from softmax_jax.training.config import RunConfig, complete
from softmax_jax.training.topology import devices

KINDS = "all-gather|all-reduce|all-to-all|reduce-scatter|collective-permute"
COLLECTIVE = re.compile(rf" ({KINDS})(?:-start)?\(")
NO_ROOM = re.compile(r"\(([\d.]+\w)\) exceeds available HBM \(([\d.]+\w)\)")


@dataclass(frozen=True)
class CompiledStep:
    """What the compiler says of a training step, per chip.

    Attributes:
      chips: how many the mesh uses.
      seconds: that tracing and compiling took, on the machine that compiled.
      state_bytes: parameters, the optimizer's state and the batch.
      temporary_bytes: activations and whatever else lives during the step.
      flops: floating point operations that XLA counts, loops counted once.
      collectives: how many of each kind stand in the program, loops counted once;
        None where XLA cannot print the program that it made.
    """

    chips: int
    seconds: float
    state_bytes: int
    temporary_bytes: int
    flops: float
    collectives: dict[str, int] | None

    def lines(self) -> dict[str, str]:
        """Name and value of each, for people."""
        kinds = "unknown: XLA cannot print this program"
        if self.collectives is not None:
            counts = (f"{n} {kind}" for kind, n in self.collectives.items())
            kinds = ", ".join(counts) or "none"
        gibibytes = {
            "state per chip": self.state_bytes,
            "temporary per chip": self.temporary_bytes,
        }
        return {
            "chips": f"{self.chips}",
            "compiled in": f"{self.seconds:.0f} s",
            **{name: f"{size / 2**30:.2f} GiB" for name, size in gibibytes.items()},
            "flops per chip": f"{self.flops:.3g}",
            "collectives": kinds,
        }


def compile_step(config: RunConfig, topology: str) -> CompiledStep:
    """Compiles the training step of `config` for all chips of `topology`.

    The data are read only if they decide a size of the model.
    """
    found = devices(topology)
    if not complete(config):
        with TemporaryDirectory() as folder:
            config = tasks.load(config, Path(folder)).config
    start = time.perf_counter()
    program = programs.build(config, found)
    try:
        step = program.lowered_step().compile()
    except jax.errors.JaxRuntimeError as error:
        raise _does_not_fit(error, topology) from None
    memory: Any = step.memory_analysis()
    cost: Any = step.cost_analysis()
    return CompiledStep(
        chips=program.mesh.size,
        seconds=time.perf_counter() - start,
        state_bytes=memory.argument_size_in_bytes,
        temporary_bytes=memory.temp_size_in_bytes,
        flops=cost["flops"],
        collectives=_collectives(step),
    )


def _collectives(step: jax.stages.Compiled) -> dict[str, int] | None:
    try:
        text = step.as_text()
    except jax.errors.JaxRuntimeError:
        return None
    return dict(sorted(Counter(COLLECTIVE.findall(text or "")).items()))


def _does_not_fit(error: jax.errors.JaxRuntimeError, topology: str) -> Exception:
    """One sentence if the memory of a chip does not suffice, else the error itself."""
    sizes = NO_ROOM.search(str(error))
    if sizes is None:
        return error
    needed, there = sizes.groups()
    return UserError(
        f"The training step does not fit {topology}: a chip needs {needed}iB for "
        f"temporaries and has {there}iB. Try training.accumulation, model.remat=full, "
        "or a larger mesh.fsdp, mesh.tensor or mesh.context."
    )
