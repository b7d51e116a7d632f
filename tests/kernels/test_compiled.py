"""The compiler for real TPUs takes every row, forward and backward, in O(T) memory."""

from importlib.util import find_spec

import jax
import jax.numpy as jnp
import pytest
from jax.sharding import AxisType, Mesh, NamedSharding, SingleDeviceSharding
from jax.sharding import PartitionSpec as P

import softmax_jax as sj
from softmax_jax.attention.arrange import arrange
from softmax_jax.attention.kernels.mosaic_tpu.attend import mosaic_tpu
from softmax_jax.training.topology import devices
from tests.kernels.calls import NOTHING
from tests.kernels.test_mosaic_tpu import ROWS, LogQuadratic

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(find_spec("libtpu") is None, reason="needs libtpu"),
]
TOPOLOGIES = ("v5e:2x2", "v5p:2x2x1", "v6e:2x2", "tpu7x:2x2x1")


def gradients(normalizer, heads: int, generation: str, *, parameters: bool = True):
    """The causal output and all gradients, as a function of q, k, v and do.

    In tiles that suit the generation.
    """
    known = sj.parse(normalizer)
    known = jax.tree.map(lambda x: jnp.full((heads,), x, jnp.float32), known)

    def attend(q, k, v, known):
        operands, offset = arrange(
            q, k, v, None, None, known, None, is_causal=True, **NOTHING
        )
        scale = q.shape[-1] ** -0.5
        return mosaic_tpu(operands, scale, None, offset=offset, generation=generation)

    def run(q, k, v, do):
        if parameters:
            o, pull = jax.vjp(attend, q, k, v, known)
        else:
            o, pull = jax.vjp(lambda q, k, v: attend(q, k, v, known), q, k, v)
        return o, pull(do.reshape(o.shape))

    return run


def arguments(t: int, heads: int, sharding, batch: int = 1) -> list:
    shape = (batch, t, heads, 128)
    return [jax.ShapeDtypeStruct(shape, jnp.bfloat16, sharding=sharding)] * 4


@pytest.mark.parametrize("topology", TOPOLOGIES)
@pytest.mark.parametrize("name", [*ROWS, "own"])
def test_every_row(name, topology):
    normalizer = LogQuadratic() if name == "own" else name
    chip = SingleDeviceSharding(devices(topology)[0])
    run = jax.jit(gradients(normalizer, 2, topology.partition(":")[0]))
    compiled = run.lower(*arguments(4096, 2, chip)).compile()
    kept = compiled.memory_analysis().temp_size_in_bytes
    assert kept < 4096 * 4096 * 2, f"{kept} bytes: as much as the scores of a head"


@pytest.mark.parametrize("topology", TOPOLOGIES)
@pytest.mark.parametrize(("name", "t"), [("softmax1", 131_072), ("entmax15", 65_536)])
def test_long_rows(name, t, topology):
    """Queries go in chunks; memory stays O(T)."""
    chip = SingleDeviceSharding(devices(topology)[0])
    run = jax.jit(gradients(name, 1, topology.partition(":")[0]))
    compiled = run.lower(*arguments(t, 1, chip)).compile()
    assert compiled.memory_analysis().temp_size_in_bytes < 64 * t * 128


def test_each_device_its_own_heads():
    """Inside shard_map on several chips, without communication."""
    mesh = Mesh(devices("v5e:2x2"), ("heads",), axis_types=(AxisType.Explicit,))
    spec = P(None, None, "heads")
    run = gradients("sigsoftmax", 1, "v5e", parameters=False)
    out_specs = P(None, "heads"), (spec,) * 3
    split = jax.shard_map(
        run, mesh=mesh, in_specs=spec, out_specs=out_specs, check_vma=False
    )
    sharding = NamedSharding(mesh, spec)
    text = jax.jit(split).lower(*arguments(1024, 4, sharding)).compile().as_text()
    assert "softmax_jax_forward" in text and "softmax_jax_backward" in text
    for name in ("all-gather", "all-reduce", "all-to-all", "collective-permute"):
        assert name not in text
