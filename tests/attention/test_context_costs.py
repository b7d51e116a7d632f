"""What a split sequence costs: which collectives, and which keys are never computed."""

import collections
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

import softmax_jax as sj
from softmax_jax.attention import chunked
from softmax_jax.attention.partition import balanced_order

MESH = jax.make_mesh((4,), ("context",), (AxisType.Auto,))
COLLECTIVES = re.compile(
    r" (all-gather|all-reduce|all-to-all|reduce-scatter|collective-permute)"
    r"(?:-start)?\("
)
# One member of each class, by what its rows need of keys that lie elsewhere.
CLASSES = {
    "nothing": "relu",
    "a count": "sigmoid",
    "a maximum and a mass": "softmax",
    "and the count": "ssmax",
    "and a constant": "softmax1",
    "and two masses": "softpick",
    "a threshold": "entmax15",
    "a rank": "sparse_softmax",
}
COUNTED = {"sigmoid", "ssmax"}
RINGED = [CLASSES[name] for name in list(CLASSES)[:6]]


def compiled(f, *shapes, dtype=jnp.float32):
    place = NamedSharding(MESH, P(None, "context"))
    given = [jax.ShapeDtypeStruct(x, dtype, sharding=place) for x in shapes]
    with jax.set_mesh(MESH):
        return jax.jit(f).lower(*given).compile().as_text()


def collectives(normalizer, method, gradient):
    def attend(*operands):
        return sj.dot_product_attention(
            *operands,
            normalizer=normalizer,
            is_causal=True,
            implementation="reference",
            partition=sj.Partition(None, None, "context", method, balanced=True),
        )

    def gradients(*operands):
        return jax.grad(lambda *x: (attend(*x) ** 2).sum(), (0, 1, 2))(*operands)

    text = compiled(gradients if gradient else attend, *[(1, 16, 4, 2)] * 3)
    return collections.Counter(COLLECTIVES.findall(text))


def expected(normalizer, method, gradient):
    """Keys and values are moved, and in the backward pass their gradients too."""
    if method == "gather":
        return {"all-gather": 2} | ({"reduce-scatter": 2} if gradient else {})
    if method == "ulysses":  # queries and outputs too
        return {"all-to-all": 8 if gradient else 4}
    # Positions go with the keys, once more where visible keys are counted first; the
    # gradients of keys and values come home by a last step.
    forward = 3 + (normalizer in COUNTED)
    return {"collective-permute": forward + (7 if gradient else 0)}


@pytest.mark.parametrize("method", ["gather", "ulysses", "ring"])
def test_a_method_communicates_in_its_own_way(method):
    assert collectives("softmax1", method, False) == expected("softmax1", method, False)


@pytest.mark.slow
@pytest.mark.parametrize("gradient", [False, True])
@pytest.mark.parametrize(
    ("normalizer", "method"),
    [
        *((name, "gather") for name in CLASSES.values()),
        *((name, "ulysses") for name in CLASSES.values()),
        *((name, "ring") for name in RINGED),
    ],
)
def test_the_collectives_of_every_class(normalizer, method, gradient):
    found = collectives(normalizer, method, gradient)
    assert found == expected(normalizer, method, gradient)


def test_gradients_in_bfloat16_are_summed_in_float32():
    def total(*operands):
        partition = sj.Partition(None, None, "context")
        return sj.dot_product_attention(*operands, partition=partition).sum()

    text = compiled(jax.grad(total, (1, 2)), *[(1, 8, 1, 2)] * 3, dtype=jnp.bfloat16)
    assert len(re.findall(r"= f32\S+ reduce-scatter\(", text)) == 2


def test_a_ring_takes_float64():
    ring = sj.Partition(None, None, "context", "ring")
    with jax.enable_x64(True), jax.set_mesh(MESH):
        x = jax.ShapeDtypeStruct((1, 8, 1, 2), jnp.float64)
        output = jax.eval_shape(
            lambda *x: sj.dot_product_attention(*x, partition=ring), x, x, x
        )
    assert output.dtype == jnp.float64


def scores(partition):
    """The sizes [queries, keys] of all products with keys in a causal call."""
    t = 4 * chunked.BLOCK
    x = jax.ShapeDtypeStruct((1, t, 1, 64), jnp.float32)

    def attend(q, k, v):
        return sj.dot_product_attention(
            q, k, v, is_causal=True, implementation="chunked", partition=partition
        )

    with jax.set_mesh(MESH):
        text = jax.jit(attend).lower(x, x, x).as_text()
    products = [line for line in text.splitlines() if "dot_general" in line]
    sizes = [re.search(r"-> tensor<(\d+)x(\d+)xf32>", line) for line in products]
    return [(int(s[1]), int(s[2])) for s in sizes if s and int(s[2]) != 64]


def test_the_balanced_order_leaves_out_a_quarter_of_the_scores():
    """A device has 256 queries here: half of them stand before half of the keys."""
    plain = sj.Partition(None, None, "context")
    balanced = sj.Partition(None, None, "context", balanced=True)
    assert scores(plain) == [(256, 1024)]
    assert scores(balanced) == [(128, 512), (128, 1024)]


def test_a_balanced_ring_computes_half_of_the_scores():
    """Blocks that a device computes at each step, by the positions in its chunks."""
    devices, length = 4, 16
    order, _ = balanced_order(length, devices)
    chunks = order.reshape(devices, 2, -1)
    for i, j in np.ndindex(devices, devices):
        seen = [k.min() <= q.max() for q in chunks[i] for k in chunks[j]]
        assert sum(seen) == (3 if i == j else 2)
    run = sj.Partition(None, None, "context", "ring", balanced=True)
    conditionals = compiled(
        lambda *x: sj.dot_product_attention(*x, is_causal=True, partition=run),
        *[(1, 16, 1, 2)] * 3,
    )
    assert len(re.findall(r"conditional\(", conditionals)) >= 4


@pytest.mark.parametrize("devices", [1, 2, 3])
def test_the_balanced_order(devices):
    order, inverse = balanced_order(12, devices)
    chunk = 12 // (2 * devices)
    chunks = order.reshape(devices, 2, chunk)
    for i, (first, last) in enumerate(chunks):
        assert first[0] == i * chunk and last[0] == (2 * devices - 1 - i) * chunk
    np.testing.assert_array_equal(order[inverse], np.arange(12))
    with pytest.raises(sj.UserError, match="do not divide its length 13"):
        balanced_order(13, devices)
