"""What lies outside of a support is left out; what is kept is not computed again."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.experimental.pallas import tpu as pltpu

import softmax_jax as sj
from softmax_jax.attention.kernels.mosaic_tpu import (
    attend,
    backward,
    chips,
    fused,
    threshold,
)
from softmax_jax.attention.kernels.mosaic_tpu.call import Blocks
from softmax_jax.attention.kernels.mosaic_tpu.problem import Support
from tests.kernels.calls import by_kernels


def entmax(q, k, v):
    return by_kernels(q, k, v, normalizer="entmax15", scale=1.0)


@pytest.mark.slow
def test_tiles_outside_of_the_support_are_left_out(monkeypatch):
    """Queries that find their key in one of three tiles: one step of three each."""
    counts = {"weighed": 0, "differentiated": 0}

    def count(module, name, said):
        known = getattr(module, name)

        def more():
            counts[said] += 1

        def counted(*args, **options):
            jax.debug.callback(more)
            return known(*args, **options)

        monkeypatch.setattr(module, name, counted)

    monkeypatch.setattr(threshold, "MANY", 3)
    count(threshold, "dot", "weighed")
    count(backward, "_step", "differentiated")
    rng = np.random.default_rng(0)
    own = np.repeat(np.eye(3), 128, axis=0) * 8
    q = jnp.asarray(own[None, :, None], jnp.float32)
    v, do = (jnp.asarray(rng.normal(size=(1, 384, 1, 3)), jnp.float32) for _ in "vd")
    with pltpu.force_tpu_interpret_mode(pltpu.InterpretParams()):
        jax.block_until_ready(jax.vjp(entmax, q, q, v)[1](do))
        assert counts == {"weighed": 3, "differentiated": 3}
        jax.block_until_ready(jax.vjp(entmax, 0 * q, q, v)[1](do))
    assert counts == {"weighed": 3 + 9, "differentiated": 3 + 9}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("spread", "passes"), [(0.0, 2), (0.2, 1), (0.5, 1), (2.0, 1), (30.0, 0)]
)
def test_passes_over_all_scores_of_a_row(monkeypatch, spread, passes):
    """Of normal scores: what is kept of a row leaves one, or none where it is sparse.

    Where all scores are equal, what is kept is too little of it: they take two.
    """
    known, solve = threshold._pass, []

    def counted(*args):
        jax.debug.callback(lambda: solve.append(1))
        return known(*args)

    monkeypatch.setattr(threshold, "_pass", counted)
    rng = np.random.default_rng(0)
    q, k = (
        jnp.asarray(rng.normal(size=(1, n, 1, 64)), jnp.bfloat16) for n in (128, 512)
    )
    with pltpu.force_tpu_interpret_mode(pltpu.InterpretParams()):
        o = by_kernels(q, k, k, normalizer="entmax15", scale=spread / 8)
        jax.block_until_ready(o)
    assert len(solve) == passes


def test_a_support_in_other_tiles():
    touched = jnp.zeros((1, 1, 1, 2, 2), bool).at[..., 0, 1].set(True)
    fine = Support(touched, Blocks(256, 512)).of(Blocks(128, 256))[0, 0, 0]
    np.testing.assert_array_equal(fine, [[0, 0, 1, 1], [0, 0, 1, 1], *[[0] * 4] * 2])
    coarse = Support(touched, Blocks(256, 512)).of(Blocks(512, 512))[0, 0, 0]
    np.testing.assert_array_equal(coarse, [[0, 1]])


def running(jaxpr) -> int:
    """Kernels of which something is read: XLA leaves the others out."""
    read = {x for eqn in jaxpr.eqns for x in eqn.invars if not hasattr(x, "val")}
    read |= {x for x in jaxpr.outvars if not hasattr(x, "val")}
    count = 0
    for eqn in jaxpr.eqns:
        if eqn.primitive.name == "pallas_call":
            count += not read.isdisjoint(eqn.outvars)
        elif "jaxpr" in eqn.params:
            inner = eqn.params["jaxpr"]
            count += running(getattr(inner, "jaxpr", inner))
    return count


def test_what_is_kept_by_name_is_not_computed_again():
    def loss(q):
        return by_kernels(q, q, q, normalizer="softmax").sum()

    def kernels(policy) -> int:
        step = jax.grad(jax.checkpoint(loss, policy=policy))
        return running(jax.make_jaxpr(step)(jnp.zeros((1, 128, 1, 64))).jaxpr)

    names = jax.checkpoint_policies.save_only_these_names(fused.OUTPUT, fused.ROWS)
    assert kernels(jax.checkpoint_policies.nothing_saveable) == 3
    assert kernels(names) == 2


@pytest.mark.parametrize(
    ("length", "most", "size"),
    [(100, 512, 128), (512, 512, 512), (1500, 1024, 768), (4096, 1024, 1024)],
)
def test_tiles_cover_a_length_with_little_to_spare(length, most, size):
    assert chips.divided(length, most) == size


@pytest.mark.parametrize(
    ("length", "size", "most", "found"),
    [
        (4096, 512, 2048, 2048),
        (3000, 512, 2048, 1024),
        (4096, 2048, 1024, 1024),
        (1200, 640, 2048, 640),
    ],
)
def test_backward_tiles_share_the_padding_of_a_length(length, size, most, found):
    assert attend._fitting(length, size, most) == found
    assert -(-length // size) * size % found == 0


def test_tiles_are_those_of_the_chips_in_use():
    assert chips.generation() is None  # these are CPUs
    assert chips.tiles(None, 128, exact=False) == chips.PLAIN
    assert chips.tiles("v6e", 96, exact=False) == chips.TILES["v6e", 128]
    assert chips.tiles("v6e", 128, exact=True) == chips.PLAIN
    softpick = chips.tiles("v6e", 128, sj.Softpick(), exact=False)
    assert softpick.backward == chips.TILES["v6e", 128].backward
    assert softpick.forward == chips.OWN["v6e", sj.Softpick] == (1024, 1024)
    entmax = chips.tiles("v5e", 128, sj.Entmax15(), exact=False)
    assert entmax.forward == (512, 1024)
    assert chips.tiles("v5e", 64, sj.ReLU(), exact=False).forward == (1024, 2048)
    for normalizer, linear in ((sj.SSMax(), True), (sj.Sigsoftmax(), False)):
        found = chips.tiles("v5e", 128, normalizer, exact=False).backward
        assert (found == chips.LINEAR["v5e", 128]) == linear
    assert functools.partial(chips.roomy, "v6e", 128)(exact=False)
    assert not chips.roomy("v5e", 128, exact=False)
