"""A checksum is the same wherever an array lies, and another for any other array."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

from softmax_jax.training import manifest as manifests
from softmax_jax.training.manifest import Damaged, checksums

DTYPES = ("float32", "bfloat16", "float16", "int32", "uint8", "bool")
SHAPES = ((), (0, 4), (3,), (8, 4), (4, 8, 5))


def examples(dtypes=DTYPES):
    rng = np.random.default_rng(0)
    return {
        f"{dtype}{shape}": (8 * rng.standard_normal(shape)).astype(jnp.dtype(dtype))
        for dtype in dtypes
        for shape in SHAPES
    }


def test_host_and_device_agree():
    arrays = examples()
    expected = checksums(arrays)
    assert checksums(jax.tree.map(jnp.asarray, arrays)) == expected
    assert len(set(expected.values())) == len(arrays) - len(DTYPES) + 1  # empty: alike


def test_host_and_device_agree_on_64_bits(x64):
    arrays = examples(("float64", "int64"))
    assert checksums(jax.tree.map(jnp.asarray, arrays)) == checksums(arrays)


def test_long_host_arrays_are_taken_in_chunks():
    array = np.random.default_rng(1).standard_normal(manifests.CHUNK + 5, np.float32)
    assert checksums({"x": array}) == checksums({"x": jnp.asarray(array)})


@pytest.mark.parametrize("spec", [P("a", "b"), P("b"), P(None, ("a", "b"))])
def test_every_mesh_gives_the_same(spec):
    mesh = jax.make_mesh((2, 4), ("a", "b"), (AxisType.Auto,) * 2)
    array = np.random.default_rng(2).standard_normal((16, 24), np.float32)
    sharded = jax.device_put(array, NamedSharding(mesh, spec))
    assert checksums({"x": sharded}) == checksums({"x": array})


def test_every_flipped_bit_is_seen_by_both_sums():
    array = np.random.default_rng(3).standard_normal(40, np.float32)
    plain, weighted = manifests._host_sums(array)
    for word in range(array.size):
        for bit in range(32):
            array.view(np.uint32)[word] ^= np.uint32(1 << bit)
            found = manifests._host_sums(array)
            assert found[0] != plain and found[1] != weighted
            array.view(np.uint32)[word] ^= np.uint32(1 << bit)


def test_order_zeros_and_signs_are_seen():
    zeros = np.zeros(6, np.float32)
    arrays = {"zeros": zeros, "more": np.zeros(7, np.float32), "negative": -zeros}
    for i, j in ((0, 1), (0, 5), (2, 4)):
        swapped = np.arange(6, dtype=np.float32)
        swapped[[i, j]] = swapped[[j, i]]
        arrays[f"{i}{j}"] = swapped
    assert len(set(checksums(arrays).values())) == len(arrays)


def test_what_differs_is_named():
    arrays, host = {"a": np.ones(3, np.float32), "b": np.zeros(2, np.int32)}, {"x": 0.1}
    manifest = manifests.describe(arrays, host)
    manifests.check_forms(manifest, arrays, host)
    manifests.check_arrays(manifest, arrays)
    with pytest.raises(Damaged, match="wrong checksum in its host data"):
        manifests.check_forms(manifest, arrays, {"x": 0.2})
    with pytest.raises(Damaged, match="does not hold c"):
        manifests.check_forms(manifest, arrays | {"c": np.ones(1)}, host)
    with pytest.raises(Damaged, match=r"holds b as .*\[2\].* not .*\[1, 2\]"):
        manifests.check_forms(manifest, arrays | {"b": arrays["b"][None]}, host)
    with pytest.raises(Damaged, match="wrong checksum in b"):
        manifests.check_arrays(manifest, arrays | {"b": np.ones(2, np.int32)})


def test_the_forms_are_those_that_were_saved():
    arrays = examples()
    empty = manifests.empty_arrays(manifests.describe(arrays, {}))
    forms = {name: (x.shape, x.dtype) for name, x in arrays.items()}
    assert {name: (x.shape, x.dtype) for name, x in empty.items()} == forms
