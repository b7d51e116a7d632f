"""Ratios whose log weights are known to be small are weighed without a maximum."""

import jax.numpy as jnp
import pytest

import softmax_jax as sj
from softmax_jax.attention.kernels.prepare import is_bounded
from tests.kernels.calls import assert_close, both


class Periodic(sj.Ratio):
    """e^(2 cos(a z)), bounded however large a score is."""

    a: float = sj.parameter(1.0)

    def log_weight(self, z):
        return 2 * jnp.cos(self.a * z)

    def bound(self, largest):
        return 2.0


@pytest.mark.parametrize(
    "name, query_scale, soft_cap, bias, bounded",
    [
        ("softmax", None, 50.0, None, True),
        ("softmax1", None, 30, None, True),
        ("softmax(temperature=0.5)", None, 30.0, None, True),
        ("softmax(temperature=0.5)", None, 50.0, None, False),
        ("softmax", None, None, None, False),
        ("softmax", None, jnp.float32(30), None, False),
        ("softmax", sj.LogLength(), 30.0, None, False),
        ("softmax", None, 30.0, jnp.zeros((1, 1, 2, 2)), False),
        ("ssmax", None, 30.0, None, False),
        ("sigsoftmax", None, 30.0, None, False),
        ("sigmoid", None, 30.0, None, False),
        (Periodic(), sj.LogLength(), None, None, True),
    ],
)
def test_what_is_known_to_be_bounded(name, query_scale, soft_cap, bias, bounded):
    normalizer = sj.parse(name)
    assert is_bounded(normalizer, query_scale, soft_cap, bias) is bounded


HIDDEN = dict(
    batch=2,
    is_causal=True,
    query_seq_lengths=jnp.array([100, 120], jnp.int32),
    key_value_seq_lengths=jnp.array([120, 0], jnp.int32),
)


@pytest.mark.slow
@pytest.mark.parametrize("options", [HIDDEN, dict(mask=(1, 2, 130, 140))])
@pytest.mark.parametrize("scale", [0.125, 300.0], ids=["small", "saturated"])
def test_soft_capped_scores_with_a_sink(options, scale):
    found = both("softmax1", scale=scale, logits_soft_cap=60.0, **options)
    assert_close(*found, 1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("sink", [-100.0, 100.0])
def test_a_sink_outside_the_bounds(sink):
    # `both` gives a single head 0.8 (x + 0.1).
    normalizer = sj.Softmax1(sink=sink / 0.8 - 0.1)
    options = dict(heads=1, is_causal=True, logits_soft_cap=50.0, scale=20.0)
    assert_close(*both(normalizer, **options), 1e-4)


@pytest.mark.slow
def test_a_bounded_ratio_of_a_user():
    assert_close(*both(Periodic(), is_causal=True, local_window_size=(30, 0)), 1e-4)
