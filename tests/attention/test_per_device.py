"""Attention over a mesh: every device with its own examples and heads."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

import softmax_jax as sj

pytestmark = pytest.mark.core

MESH = jax.make_mesh((2, 2, 2), ("data", "fsdp", "tensor"), (AxisType.Auto,) * 3)
PARTITION = sj.Partition()
RNG = np.random.default_rng(0)
B, T, H, K, D = 4, 10, 4, 2, 8
QUERY = jnp.asarray(RNG.normal(size=(B, T, H, D)), jnp.float32)
KEY, VALUE = jnp.asarray(RNG.normal(size=(2, B, T, K, D)), jnp.float32)
LENGTHS = jnp.asarray([10, 7, 3, 0])


def loss(query, key, value, normalizer, **options):
    output, stats = sj.dot_product_attention(
        query,
        key,
        value,
        normalizer=normalizer,
        is_causal=True,
        key_value_seq_lengths=LENGTHS,
        return_stats=True,
        **options,
    )
    return (output**2).sum() + stats.row_max.sum(), output


@pytest.mark.parametrize("implementation", ["reference", "chunked"])
@pytest.mark.parametrize(
    "normalizer",
    [
        sj.SSMax(scale=jnp.arange(1.0, H + 1) / 8),
        sj.Entmax(alpha=jnp.asarray(1.3)),
        sj.Sigmoid(bias=jnp.asarray(-0.5)),
    ],
    ids=["ssmax", "entmax", "sigmoid"],
)
def test_a_partition_changes_no_value_and_no_gradient(normalizer, implementation):
    differentiated = jax.value_and_grad(loss, (0, 1, 2, 3), has_aux=True)
    run = jax.jit(differentiated, static_argnames=("implementation", "partition"))
    operands = (QUERY, KEY, VALUE, normalizer)
    alone = run(*operands, implementation=implementation)
    with jax.set_mesh(MESH):
        shared = run(*operands, implementation=implementation, partition=PARTITION)
    for here, there in zip(
        jax.tree.leaves(alone), jax.tree.leaves(shared), strict=True
    ):
        np.testing.assert_allclose(here, there, rtol=1e-5, atol=2e-5)


def test_devices_exchange_nothing():
    place = NamedSharding(MESH, P(("data", "fsdp"), None, "tensor"))
    operands = [
        jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=place)
        for x in (QUERY, KEY, VALUE)
    ]

    def collectives(partition):
        def gradient(*operands):
            def energy(*operands):
                return (
                    sj.dot_product_attention(
                        *operands, implementation="chunked", partition=partition
                    )
                    ** 2
                ).sum()

            return jax.grad(energy, (0, 1, 2))(*operands)

        with jax.set_mesh(MESH):
            text = jax.jit(gradient).lower(*operands).compile().as_text()
        return re.findall(r"all-gather|all-reduce|all-to-all|collective-permute", text)

    assert collectives(None)
    assert not collectives(PARTITION)


@pytest.mark.parametrize(
    ("partition", "sentence"),
    [
        (sj.Partition("model"), "names the axis model, but the mesh in use has"),
        (
            sj.Partition(("data", "fsdp", "tensor"), None),
            "B=4 does not divide by the 8 devices",
        ),
        (
            sj.Partition(None, ("data", "fsdp")),
            "K=2 does not divide by the 4 devices",
        ),
        (
            sj.Partition("data", None, ("fsdp", "tensor")),
            "T=10 does not divide by the 4 devices",
        ),
        (
            sj.Partition("data", None, "fsdp", balanced=True),
            "into 4 chunks, which do not divide its length 10",
        ),
        (
            sj.Partition("data", "tensor", "fsdp", "ulysses"),
            "K=2 does not divide by the 4 devices",
        ),
    ],
)
def test_a_partition_that_does_not_fit_is_refused(partition, sentence):
    with jax.set_mesh(MESH), pytest.raises(sj.UserError, match=sentence):
        sj.dot_product_attention(QUERY, KEY, VALUE, partition=partition)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (dict(method="halo"), "method must be among gather, ulysses, ring, got 'halo'"),
        (dict(balanced=True), "balanced needs a sequence that is split"),
        (dict(sequence="data"), "names the axis data twice"),
    ],
)
def test_a_partition_that_means_nothing_is_refused(arguments, sentence):
    with pytest.raises(sj.UserError, match=sentence):
        sj.Partition(**arguments)


def test_a_partition_needs_a_mesh():
    with pytest.raises(sj.UserError, match="jax.set_mesh"):
        sj.dot_product_attention(QUERY, KEY, VALUE, partition=sj.Partition("data"))
