import functools
import re

import jax
import pytest
from jax.sharding import AbstractDevice, AbstractMesh

import softmax_jax as sj
from softmax_jax.target import platform


def chips(**axes):
    """A mesh of TPUs that are not here."""
    kind = AbstractDevice("TPU v5 lite", 1, "tpu")
    return AbstractMesh(tuple(axes.values()), tuple(axes), abstract_device=kind)


def traced(**options):
    qkv = [jax.ShapeDtypeStruct((2, 256, 1, 128), jax.numpy.float32)] * 3
    attend = functools.partial(sj.dot_product_attention, **options)
    return str(jax.make_jaxpr(attend)(*qkv))


def test_platform_is_that_of_the_devices_here():
    assert platform() == jax.default_backend()
    with jax.set_mesh(jax.make_mesh((2,), ("data",))):
        assert platform() == jax.default_backend()


def test_a_mesh_of_absent_chips_takes_their_kernels():
    assert "pallas_call" not in traced()
    with jax.sharding.use_abstract_mesh(chips(data=1)):
        assert platform() == "tpu"
        assert "pallas_call" in traced()


def test_several_chips_take_them_where_a_partition_says_how():
    with jax.sharding.use_abstract_mesh(chips(data=2, context=1)):
        assert "pallas_call" not in traced()
        with pytest.raises(NotImplementedError, match="mosaic_tpu needs partition= on"):
            traced(implementation="mosaic_tpu")
        partition = sj.Partition(batch="data", heads=None)
        program = traced(partition=partition)
    assert "pallas_call" in program
    # A kernel compiles only where no axis is left for the compiler to split.
    manual = re.search(r"manual_axes=frozenset\(\{([^}]*)\}\)", program)
    assert manual and set(manual[1].replace("'", "").split(", ")) == {"data", "context"}
