"""The kernels for TPUs, interpreted, equal the reference: outputs and gradients."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.experimental.pallas import tpu as pltpu

import softmax_jax as sj
from softmax_jax.attention.kernels.mosaic_tpu import fused
from tests.kernels.calls import assert_close, both, by_kernels, differentiated

ROWS = [
    name
    for name in sj.CATALOGUE
    if name not in ("sparse_softmax", "t_softmax", "r_softmax")
]
slow = pytest.mark.slow


class LogQuadratic(sj.Ratio):
    """A user's own: all they write."""

    curvature: float = sj.parameter(1.0)

    def log_weight(self, z):
        return jnp.log1p(self.curvature * z * z)


def test_one_tile():
    assert_close(*both("softmax1", t=128, s=128, heads=1, width=8, value_width=8), 5e-5)


@slow
@pytest.mark.parametrize("name", ROWS)
def test_rows(name):
    assert_close(*both(name, is_causal=True), 5e-5)


@slow
def test_own_ratio():
    assert_close(*both(LogQuadratic(), is_causal=True), 5e-5)


FEATURES = {
    "full": {},
    "window": dict(local_window_size=(30, 20)),
    "offset": dict(is_causal=True, query_offset=-20),
    "lengths": dict(
        batch=2,
        is_causal=True,
        query_seq_lengths=jnp.array([100, 120], jnp.int32),
        key_value_seq_lengths=jnp.array([120, 140], jnp.int32),
    ),
    "segments": dict(
        t=140,
        batch=2,
        is_causal=True,
        segment_ids=jnp.asarray(np.arange(280).reshape(2, 140) // 45),
    ),
    "mask": dict(batch=2, mask=(2, 2, 130, 140)),
    "key_mask": dict(mask=(1, 1, 1, 140)),
    "bias": dict(is_causal=True, bias=(1, 2, 130, 140)),
    "key_bias": dict(bias=(1, 1, 1, 140)),
    "soft_cap": dict(is_causal=True, logits_soft_cap=2.0),
    "capped_bias": dict(bias=(1, 1, 130, 140), logits_soft_cap=2.0),
    "query_scale": dict(is_causal=True, query_scale="log_length(scale=0.43)"),
    "scaled_bias": dict(bias=(1, 1, 130, 140), query_scale="log_length(scale=0.43)"),
    "key_lengths": dict(query_scale="key_lengths"),
    "widths": dict(width=192, value_width=128, heads=4, kv_heads=2),
}


@slow
@pytest.mark.parametrize("options", FEATURES.values(), ids=FEATURES)
@pytest.mark.parametrize("name", ["ssmax", "sigmoid", "entmax15"])
def test_features(name, options):
    assert_close(*both(name, **options), 1e-4)


@slow
def test_a_square_instead_of_a_power():
    """Sigsoftmax of k = 2 has a form of its own, where k is known to be that."""
    known = (("k", 2.0),)
    # `both` gives a single head 0.8 (x + 0.1).
    normalizer = jax.tree.map(lambda x: x / 0.8 - 0.1, sj.Sigsoftmax())
    got, expected = both(normalizer, heads=1, is_causal=True, known=known)
    k_unknown = expected._replace(parameters=expected.parameters[1:])
    assert_close(got._replace(parameters=got.parameters[1:]), k_unknown, 5e-5)


@slow
def test_many_equal_scores_need_passes_over_all():
    """More of a lane than is kept of it is in the support."""
    assert_close(*both("entmax15", t=128, s=1100, scale=0.03), 1e-4)


@slow
@pytest.mark.parametrize("name", ["softmax1", "entmax15"])
def test_no_races(name):
    from jax._src.pallas.mosaic.interpret import interpret_pallas_call

    got, expected = both(name, is_causal=True, detect_races=True)
    assert_close(got, expected, 5e-5)
    assert not interpret_pallas_call.races.races_found


@slow
def test_queries_in_chunks(monkeypatch):
    """What is kept of queries is limited; more walks give the same gradients."""
    monkeypatch.setattr(fused, "MOST_KEPT", 4 * 128 * 128)
    assert_close(*both("ssmax", is_causal=True, bias=(1, 2, 130, 140)), 5e-5)


@slow
def test_nothing_unseen_is_read():
    """NaN where no query looks, in keys and values and queries, reaches nothing."""
    rng = np.random.default_rng(0)
    arrays = [jnp.asarray(rng.normal(size=(1, 130, 2, 64)), jnp.float32)] * 3
    lengths = jnp.array([100], jnp.int32)
    options = dict(query_seq_lengths=lengths, key_value_seq_lengths=lengths)
    planted = [x.at[:, 110:].set(jnp.nan) for x in arrays]
    softmax = sj.Softmax1(sink=jnp.zeros(2))
    with pltpu.force_tpu_interpret_mode(pltpu.InterpretParams()):
        clean, dirty = (
            differentiated(by_kernels, [*x, None, arrays[0]], softmax, None, options)
            for x in (arrays, planted)
        )
    for name in ("o", "q", "k", "v"):
        np.testing.assert_array_equal(getattr(clean, name), getattr(dirty, name))
    assert not np.asarray(dirty.o)[:, 100:].any()


@pytest.mark.parametrize(
    ("normalizer", "dtype", "width", "said"),
    [
        ("sparse_softmax", jnp.float32, 64, "order of the scores"),
        ("softmax", jnp.float16, 64, "bfloat16 and float32"),
        ("softmax", jnp.float32, 320, "up to 256"),
    ],
)
def test_what_does_not_fit_says_so(normalizer, dtype, width, said):
    x = jnp.zeros((1, 8, 2, width), dtype)
    with pytest.raises(NotImplementedError, match=said):
        by_kernels(x, x, x, normalizer=normalizer)


def test_too_many_keys_for_a_threshold():
    x = jax.ShapeDtypeStruct((1, 1 << 17, 1, 64), jnp.bfloat16)

    with pytest.raises(NotImplementedError, match="at most 65536 keys"):
        jax.eval_shape(lambda q, k: by_kernels(q, k, k, normalizer="entmax15"), x, x)
