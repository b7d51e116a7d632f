"""A step of our training against the same model in plain jax.numpy, and nanodo's.

Softmax runs against a Transformer of the same parameters and mathematics, which
`plain_transformer.py` writes out; SSMax runs beside it. nanodo's model (Linen; learned
positions, layer norms and a gelu, of about the same size) is a third where the folder
of its source is given.
"""

import dataclasses
import functools
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from rich.table import Table

from benchmarks import plain_transformer as plain
from benchmarks.timing import Contestant, race, speedup
from softmax_jax.training import RunConfig, from_mapping
from softmax_jax.training import program as programs
from softmax_jax.training.state import to_named

SIZE = {"vocabulary": 1024, "layers": 4, "width": 256, "heads": 4}
SHAPE = {"batch_size": 8, "sequence_length": 256}
# How far the losses of the first steps may be apart, relatively, to be the same model.
SAME = 1e-5


@dataclasses.dataclass
class Trainer:
    """A compiled step, the state that it goes on with, and what compiling took."""

    name: str
    program: Any
    state: Any
    compile_seconds: float

    def step(self, tokens: jax.Array) -> jax.Array:
        """Takes a step; its loss."""
        self.state, values = self.program(self.state, tokens)
        jax.block_until_ready(self.state)
        return values["loss"]

    def contestant(self, tokens: jax.Array, is_peer: bool) -> Contestant:
        return Contestant(
            self.name,
            lambda: self.step(tokens),
            is_peer,
            self.compile_seconds,
            self.program.memory_analysis().temp_size_in_bytes,
        )


def tables(
    nanodo: Path | None = None,
    size: Mapping[str, int] = SIZE,
    shape: Mapping[str, int] = SHAPE,
    rounds: int = 20,
) -> Iterator[Table]:
    """One table, of steps that were first seen to be the same."""
    tokens = draw_tokens(size, shape)
    configs = {name: run_config(name, size, shape) for name in ("softmax", "ssmax")}
    built = {name: programs.build(c, jax.devices()[:1]) for name, c in configs.items()}
    peer = plain_trainer(configs["softmax"], built["softmax"], tokens[0])
    ours = [our_trainer(name, program) for name, program in built.items()]
    check_same(peer, ours[0], tokens)
    trainers = [peer, *ours]
    if nanodo is not None:
        trainers.append(nanodo_trainer(nanodo, configs["softmax"], tokens[0]))
    runners = [t.contestant(tokens[0], is_peer=t is peer) for t in trainers]
    yield report(runners, race(runners, rounds), size, shape)


def run_config(
    normalizer: str, size: Mapping[str, int], shape: Mapping[str, int]
) -> RunConfig:
    return from_mapping(
        RunConfig,
        {
            "model": {**size, "normalizer": normalizer},
            "data": {},
            "optimizer": {"warmup": 1},
            "training": {**shape, "steps": 1000},
        },
    )


def draw_tokens(size: Mapping[str, int], shape: Mapping[str, int]) -> jax.Array:
    """Three batches."""
    rows = 3, shape["batch_size"], shape["sequence_length"] + 1
    drawn = np.random.default_rng(0).integers(0, size["vocabulary"], rows, np.int32)
    return jnp.asarray(drawn)


def our_trainer(name: str, program: programs.Program) -> Trainer:
    start = time.perf_counter()
    step = program.lowered_step().compile()
    seconds = time.perf_counter() - start
    with jax.set_mesh(program.mesh):
        return Trainer(f"softmax_jax {name}", step, program.initial(), seconds)


def plain_trainer(
    config: RunConfig, program: programs.Program, tokens: jax.Array
) -> Trainer:
    """From the parameters that `program` starts with."""
    with jax.set_mesh(program.mesh):
        params = to_named(program.initial().params)
    logits = functools.partial(plain.logits, config=config.model)
    host = {name: np.asarray(array) for name, array in params.items()}
    return _trainer("plain jax.numpy", logits, config, host, tokens)


def nanodo_trainer(folder: Path, config: RunConfig, tokens: jax.Array) -> Trainer:
    """nanodo's model with an MLP that has as many parameters as ours."""
    sys.path.insert(0, str(folder))
    from nanodo import model as nanodo

    own: Any = config.model
    docfg = nanodo.DoConfig(
        D=own.width,
        H=own.heads,
        L=config.training.sequence_length,
        N=own.layers,
        V=own.vocabulary,
        F=3 * own.mlp_width_ // 2,
        fsdp_enabled=False,
    )
    model = nanodo.TransformerDo(docfg)
    params = model.init(jax.random.key(0), tokens[:, :-1])["params"]

    def logits(params: Any, tokens: jax.Array) -> jax.Array:
        return model.apply({"params": params}, tokens)

    return _trainer("nanodo", logits, config, params, tokens)


def _trainer(
    name: str,
    logits: Callable[[Any, jax.Array], jax.Array],
    config: RunConfig,
    params: Any,
    tokens: jax.Array,
) -> Trainer:
    params = jax.tree.map(jnp.asarray, params)
    optimizer = plain.adamw(config.optimizer, config.training.steps, params)
    state = params, optimizer.init(params)
    start = time.perf_counter()
    jitted = jax.jit(plain.make_step(logits, optimizer), donate_argnums=0)
    step = jitted.lower(state, tokens).compile()
    return Trainer(name, step, state, time.perf_counter() - start)


def check_same(peer: Trainer, own: Trainer, tokens: jax.Array) -> None:
    """Takes a step on every batch; raises if the losses are not the same."""
    losses = [[float(t.step(batch)) for t in (peer, own)] for batch in tokens]
    for theirs, ours in losses:
        if abs(theirs - ours) > SAME * theirs:
            raise ValueError(f"{peer.name} and {own.name} differ: {losses}")


def report(
    runners: list[Contestant],
    seconds: dict[str, list[float]],
    size: Mapping[str, int],
    shape: Mapping[str, int],
) -> Table:
    """Tokens per second, and how many times the time of the first the others take."""
    named = ", ".join(f"{name} {value}" for name, value in {**size, **shape}.items())
    table = Table(title=f"A training step: {named}", title_justify="left")
    table.add_column("model", no_wrap=True)
    for header in ("tokens/s", "best ms", "time", "per round", "temp MiB", "compile s"):
        table.add_column(header, justify="right")
    tokens = shape["batch_size"] * shape["sequence_length"]
    for runner in runners:
        own, peer = seconds[runner.name], seconds[runners[0].name]
        best, low, high = speedup(peer, own)
        table.add_row(
            runner.name,
            f"{tokens / min(own):,.0f}",
            f"{1e3 * min(own):.1f}",
            "peer" if runner.is_peer else f"{best:.3f}",
            "" if runner.is_peer else f"{low:.2f}-{high:.2f}",
            f"{(runner.temp_bytes or 0) / 2**20:.0f}",
            f"{runner.compile_seconds or 0:.1f}",
        )
    softmax, ssmax = (min(seconds[runner.name]) for runner in runners[1:3])
    table.caption = f"ssmax takes {ssmax / softmax:.3f} of the time of our softmax"
    return table
