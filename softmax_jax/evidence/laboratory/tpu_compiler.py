"""Attention through the compiler of TPUs that are not here, and what it makes of it.

Every program is compiled in a process of its own, whose flags make the compiler write
its schedules down. Bundles are per 512 queries and 512 keys.
"""

import dataclasses
import functools
import importlib.util
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

import softmax_jax as sj
from softmax_jax.attention.arrange import arrange
from softmax_jax.attention.kernels.mosaic_tpu import chips
from softmax_jax.attention.kernels.mosaic_tpu.attend import mosaic_tpu
from softmax_jax.attention.kernels.mosaic_tpu.schedule import (
    FLAGS,
    Schedule,
    schedules,
)
from softmax_jax.attention.kernels.prepare import is_bounded
from softmax_jax.attention.kernels.twins import constants
from softmax_jax.errors import UserError
from softmax_jax.evidence.laboratory.normalizer_file import find_normalizer, one_line
from softmax_jax.evidence.locate import nearest
from softmax_jax.training.topology import devices

TOPOLOGIES = {
    "v5e": "v5e:2x2",
    "v5p": "v5p:2x2x1",
    "v6e": "v6e:2x2",
    "tpu7x": "tpu7x:2x2x1",
}
TILE, T, HEADS = 512, 4096, 4
BASELINES = ("splash", "fused splash", "flash")
FORWARD = re.compile("fwd|forward|threshold|slopes|flash_attention[.]|jvp_jit_flash")
SECONDS = 600


@dataclasses.dataclass(frozen=True)
class Program:
    """Attention, forward or both ways, in bfloat16 and without a mask.

    Attributes:
      row: a kernel of JAX, or a normalizer as `find_normalizer` takes it, with "cap" or
        "causal" after a plus.
      what: "forward", or "both" with the backward pass.
      tile: queries and keys, or None for what suits; kernels of JAX may be given a
        third, the keys that they compute with at a time.
    """

    row: str
    what: str
    target: str
    width: int = 128
    tile: tuple[int, ...] | None = None

    @functools.cached_property
    def normalizer(self) -> sj.Normalizer:
        return find_normalizer(self.row.partition("+")[0])

    def sizes(self, kernel: str) -> tuple[int, ...]:
        """The tile of a kernel of this program, by its name."""
        if self.tile is not None:
            return self.tile
        if self.row in BASELINES:
            return TILE, TILE
        known = chips.tiles(self.target, self.width, self.normalizer, exact=False)
        if is_forward(kernel):
            q, k = known.forward
            return q, min(k, q) if self.row.endswith("+causal") else k
        return known.backward

    def share(self, kernel: str) -> float:
        """What a tile of a kernel is to be multiplied by."""
        q, k, *_ = self.sizes(kernel)
        return TILE * TILE / (q * k)

    def arguments(self) -> list[str]:
        sizes = ",".join(map(str, self.tile or ()))
        return [self.row, self.what, self.target, str(self.width), sizes]


def report(target: str, generation: str) -> Iterator[str]:
    """Bundles of a normalizer's kernels, line by line, beside those of splash."""
    check_target(generation)
    yield f"{find_normalizer(target)} for {generation}"
    program = Program(target, "both", generation)
    ours = _passes(program)
    beside = Program("splash", "both", generation, tile=(*program.sizes("fwd"), TILE))
    theirs = _passes(beside)
    yield f"{'bundles':10} {'yours':>8} {'splash':>8}   per {TILE} x {TILE} scores"
    for name, mine in ours.items():
        other = theirs[name]
        yield f"{name:10} {mine:8.0f} {other:8.0f}   {mine / other:.2f}"


def _passes(program: Program) -> dict[str, float]:
    """Bundles of the steps of each pass."""
    sums = {"forward": 0.0, "backward": 0.0}
    for found in measure(program):
        name = "forward" if is_forward(found.kernel) else "backward"
        sums[name] += found.step * program.share(found.kernel)
    return sums


def check_target(target: str) -> None:
    """Refuses a generation that is unknown, and a machine without the compiler."""
    if target not in TOPOLOGIES:
        hint = nearest(target, TOPOLOGIES)
        raise UserError(f"--target {target!r} is no generation of TPUs; {hint}")
    if importlib.util.find_spec("libtpu") is None:
        raise UserError(
            "Compiling for a TPU needs its compiler: pip install softmax-jax[tpu]"
        )


def measure(program: Program) -> list[Schedule]:
    """The schedules of its kernels."""
    with tempfile.TemporaryDirectory() as folder:
        environment = os.environ | {
            "LIBTPU_INIT_ARGS": FLAGS.format(folder=folder),
            "JAX_PLATFORMS": "cpu",
        }
        result = subprocess.run(
            [sys.executable, "-m", __spec__.name, *program.arguments()],
            env=environment,
            capture_output=True,
            text=True,
            timeout=SECONDS,
        )
        if result.returncode:
            said = result.stderr.strip().splitlines() or ["no reason given"]
            raise UserError(
                f"{program.row} does not compile for {program.target}: {said[-1]}"
            )
        return list(schedules(Path(folder)))


def is_forward(kernel: str) -> bool:
    """Whether a kernel works through the tiles of the forward pass."""
    return FORWARD.search(kernel) is not None


def build(program: Program) -> None:
    """Compiles a program for one chip."""
    chip = jax.sharding.SingleDeviceSharding(devices(TOPOLOGIES[program.target])[0])
    shape = (1, HEADS, T, program.width)
    x = jax.ShapeDtypeStruct(shape, jnp.bfloat16, sharding=chip)
    attend = PROGRAMS.get(program.row, _ours)(program)

    def both(q, k, v, do):
        _, pull = jax.vjp(attend, q, k, v)
        return pull(do)

    run, count = (attend, 3) if program.what == "forward" else (both, 4)
    jax.jit(run).lower(*[x] * count).compile()


def _splash(program: Program) -> Callable:
    from jax.experimental.pallas.ops.tpu.splash_attention import (
        splash_attention_kernel as kernel,
    )
    from jax.experimental.pallas.ops.tpu.splash_attention import (
        splash_attention_mask as masks,
    )

    q, k, *few = program.sizes("")
    sizes: dict[str, Any] = {"block_q": q, "block_q_dkv": q, "block_kv": k}
    sizes |= {"block_kv_dkv": k, "use_fused_bwd_kernel": "fused" in program.row}
    few = few[0] if few else k
    sizes |= {"block_kv_compute": few, "block_kv_dkv_compute": few}
    if "fused" not in program.row:
        sizes |= {"block_q_dq": q, "block_kv_dq": k}
    attend: Any = kernel.make_splash_mha(
        masks.MultiHeadMask([masks.FullMask((T, T))] * HEADS),
        block_sizes=kernel.BlockSizes(**sizes),
        head_shards=1,
        q_seq_shards=1,
    )
    return lambda q, k, v: attend(q[0], k[0], v[0])[None]


def _flash(program: Program) -> Callable:
    from jax.experimental.pallas.ops.tpu import flash_attention as module

    names = ("block_q", "block_k_major", "block_k", "block_q_major_dkv")
    names += ("block_k_major_dkv", "block_k_dkv", "block_q_dkv", "block_k_major_dq")
    names += ("block_k_dq", "block_q_dq")
    sizes = module.BlockSizes(block_b=1, **{name: TILE for name in names})
    return lambda q, k, v: module.flash_attention(q, k, v, block_sizes=sizes)


PROGRAMS: dict[str, Callable[[Program], Callable]] = {
    "splash": _splash,
    "fused splash": _splash,
    "flash": _flash,
}


def _ours(program: Program) -> Callable:
    normalizer, options = program.normalizer, program.row.split("+")[1:]
    names = ("query_seq_lengths", "key_value_seq_lengths", "local_window_size")
    none = dict.fromkeys((*names, "segment_ids", "query_offset"))
    cap = 50.0 if "cap" in options else None
    blocks = None if program.tile is None else (program.tile[0], program.tile[1])

    def attend(q, k, v):
        operands, offset = arrange(
            q.swapaxes(1, 2),
            k.swapaxes(1, 2),
            v.swapaxes(1, 2),
            None,
            None,
            normalizer,
            None,
            is_causal="causal" in options,
            **none,
        )
        o = mosaic_tpu(
            operands,
            program.width**-0.5,
            cap,
            offset=offset,
            known=constants(normalizer),
            bounded=is_bounded(normalizer, None, cap, None),
            blocks=blocks,
            generation=program.target,
        )
        return o.reshape(q.shape)

    return attend


def main(arguments: list[str]) -> int:
    """Compiles one program, as the process that `measure` starts."""
    row, what, target, width, sizes = arguments
    tile = tuple(map(int, sizes.split(","))) if sizes else None
    try:
        build(Program(row, what, target, int(width), tile))
    except Exception as error:  # told in one line, whatever the compiler met
        sys.stderr.write(f"\n{one_line(error)}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
