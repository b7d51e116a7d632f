"""Attention whose sequence is split over devices: as on one, whatever the method."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType

import softmax_jax as sj
from softmax_jax.attention import chunked
from softmax_jax.attention.partition import balanced_order

NAMES = ("data", "tensor", "context")
MESHES = {
    sizes: jax.make_mesh(sizes, NAMES, (AxisType.Auto,) * 3)
    for sizes in ((2, 2, 2), (2, 1, 4), (1, 1, 8))
}
B, T, H, D = 2, 32, 4, 4
RNG = np.random.default_rng(0)
LENGTHS = np.asarray([T, 11])
FLOATS = dict(
    query=2 * RNG.normal(size=(B, T, H, D)),
    key=2 * RNG.normal(size=(B, T, H, D)),
    value=RNG.normal(size=(B, T, H, D)),
    bias=RNG.normal(size=(1, H, T, T)),
    weigh=RNG.normal(size=(B, T, H, D)),
)
OTHERS = dict(
    segments=np.sort(RNG.integers(0, 3, (B, T)), axis=1),
    mask=RNG.random((B, 1, 1, T)) < 0.8,
)
# Where the tokens lie in each.
TOKENS = dict(bias=(2, 3), mask=(3,))
RINGED = [
    name
    for name, row in sj.CATALOGUE.items()
    if issubclass(row.cls, sj.Ratio | sj.Elementwise)
    and name not in ("sparse_softmax", "t_softmax", "r_softmax")
]


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    monkeypatch.setattr(chunked, "BLOCK", 4)
    jax.clear_caches()
    yield
    jax.clear_caches()


def with_arrays(name):
    """The row with a different, non-zero value of each parameter in each head."""
    spread = jnp.linspace(0.6, 1.4, H, dtype=jnp.float32)
    return jax.tree.map(lambda x: (x + 0.5) * spread + 0.3, sj.CATALOGUE[name].cls())


def ordered(arrays, order):
    """Every array with its tokens in another order."""
    return {
        name: functools.reduce(
            lambda x, axis: np.take(x, order, axis),
            TOKENS.get(name, (1,)),
            np.asarray(array),
        )
        for name, array in arrays.items()
    }


@functools.partial(jax.jit, static_argnames=("partition", "implementation", "stats"))
def differentiated(floats, normalizer, others, partition, implementation, stats):
    def loss(floats, normalizer):
        output, found = sj.dot_product_attention(
            floats["query"],
            floats["key"],
            floats["value"],
            floats.get("bias"),
            others.get("mask"),
            normalizer=normalizer,
            is_causal=True,
            key_value_seq_lengths=others.get("lengths"),
            query_offset=0,
            segment_ids=others.get("segments"),
            return_stats=True,
            implementation=implementation,
            partition=partition,
        )
        level = found.lse if found.tau is None else found.tau
        total = (output * floats["weigh"]).sum()
        if level is not None:
            total += jnp.where(jnp.isfinite(level), level, 0).sum() / T
        return total, (output, found if stats else None)

    (_, found), gradients = jax.value_and_grad(loss, (0, 1), has_aux=True)(
        floats, normalizer
    )
    return found, gradients


@functools.cache
def alone(name, bare, stats):
    return _run(name, None, "reference", bare, stats)


def _run(name, partition, implementation, bare, stats, order=None):
    order = np.arange(T) if order is None else order
    floats = {k: v for k, v in FLOATS.items() if not (bare and k == "bias")}
    floats = jax.tree.map(np.float32, floats)
    # What nothing sees reaches nothing.
    for hidden in ("key", "value"):
        floats[hidden][1, LENGTHS[1] :] = np.nan
    others = {} if bare else ordered(OTHERS, order)
    (output, found), (of_floats, of_normalizer) = differentiated(
        ordered(floats, order),
        with_arrays(name),
        dict(others, lengths=LENGTHS),
        partition,
        implementation,
        stats,
    )
    back = np.argsort(order)
    found = jax.tree.map(lambda x: x[:, :, back], found)
    return output[:, back], found, ordered(of_floats, back), of_normalizer


def check(name, mesh, method, balanced, implementation, bare=False, stats=True):
    shares = dict(zip(NAMES, mesh, strict=True))
    order = balanced_order(T, shares["context"])[0] if balanced else np.arange(T)
    partition = sj.Partition("data", "tensor", "context", method, balanced)
    with jax.set_mesh(MESHES[mesh]):
        got = _run(name, partition, implementation, bare, stats, order)
    expected = alone(name, bare, stats)
    pairs = zip(jax.tree.leaves_with_path(got), jax.tree.leaves(expected), strict=True)
    for (path, there), here in pairs:
        finite = np.asarray(here)[np.isfinite(here)]
        close = 3e-5 * max(1, np.abs(finite).max(initial=0))
        np.testing.assert_allclose(
            there, here, rtol=1e-5, atol=close, err_msg=jax.tree_util.keystr(path)
        )


@pytest.mark.parametrize(
    ("name", "method", "balanced", "implementation"),
    [
        ("ssmax", "gather", True, "chunked"),
        pytest.param(
            *("sparse_softmax", "ulysses", False, "reference"), marks=pytest.mark.slow
        ),
        ("softmax1", "ring", True, "reference"),
    ],
)
def test_a_split_sequence_changes_nothing(name, method, balanced, implementation):
    check(name, (2, 2, 2), method, balanced, implementation)


@pytest.mark.slow
@pytest.mark.parametrize("name", sj.CATALOGUE)
@pytest.mark.parametrize(
    ("method", "balanced", "implementation"),
    [
        ("gather", False, "chunked"),
        ("gather", True, "reference"),
        ("gather", True, "chunked"),
        ("ulysses", False, "chunked"),
        ("ulysses", True, "chunked"),
    ],
)
def test_every_row_whole(name, method, balanced, implementation):
    check(name, (2, 2, 2), method, balanced, implementation)


@pytest.mark.slow
@pytest.mark.parametrize("name", RINGED)
@pytest.mark.parametrize(
    ("balanced", "implementation"), [(False, "reference"), (True, "chunked")]
)
def test_every_row_that_merges(name, balanced, implementation):
    check(name, (2, 2, 2), "ring", balanced, implementation)


@pytest.mark.slow
@pytest.mark.parametrize("mesh", [(2, 1, 4), (1, 1, 8)])
@pytest.mark.parametrize(
    ("name", "method"),
    [
        *((name, "gather") for name in ("sigmoid", "ssmax", "entmax", "r_softmax")),
        *((name, "ring") for name in ("sigmoid", "ssmax", "softmax1", "softpick")),
    ],
)
@pytest.mark.parametrize("balanced", [False, True])
def test_more_devices(mesh, name, method, balanced):
    """Positions alone mask in the balanced order, a bias and segments too otherwise."""
    check(name, mesh, method, balanced, "reference", bare=balanced)
