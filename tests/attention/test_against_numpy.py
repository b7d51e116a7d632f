"""`reference` against attention written out in loops: who sees whom, in what order."""

import jax.numpy as jnp
import numpy as np
import pytest

import softmax_jax as sj
from tests.specs import SPECS

pytestmark = [pytest.mark.core, pytest.mark.usefixtures("x64")]


def visible(spec, keywords, b, h, i, j) -> bool:
    """One query, one key, one answer."""
    q_length = keywords.get("query_seq_lengths", np.full(spec.batch, spec.t))[b]
    k_length = keywords.get("key_value_seq_lengths", np.full(spec.batch, spec.s))[b]
    position = i + keywords.get("query_offset", int(k_length) - int(q_length))
    left, right = keywords.get("local_window_size", (10**6, 10**6))
    mask = np.broadcast_to(
        keywords.get("mask", np.ones((1, 1, 1, 1), bool)),
        (spec.batch, spec.heads, spec.t, spec.s),
    )
    segments = keywords.get("segment_ids")
    return bool(
        i < q_length
        and j < k_length
        and not (keywords.get("is_causal") and j > position)
        and position - left <= j <= position + right
        and mask[b, h, i, j]
        and (segments is None or segments[0][b, i] == segments[1][b, j])
    )


def loops(spec, q, k, v, keywords, weigh):
    """softcap(scale q.k) + bias, weighed by `weigh` over the visible keys alone."""
    out = np.zeros((spec.batch, spec.t, spec.heads, spec.value_width))
    cap, scale = (
        keywords.get("logits_soft_cap"),
        keywords.get("scale", spec.width**-0.5),
    )
    for b, i, h in np.ndindex(spec.batch, spec.t, spec.heads):
        kv = h // (spec.heads // spec.kv_heads)
        keys = [j for j in range(spec.s) if visible(spec, keywords, b, h, i, j)]
        if not keys:
            continue
        z = np.array([scale * q[b, i, h] @ k[b, j, kv] for j in keys])
        z = z if cap is None else cap * np.tanh(z / cap)
        if "bias" in keywords:
            z = z + np.array([keywords["bias"][0, h, i, j] for j in keys])
        out[b, i, h] = weigh(z) @ np.array([v[b, j, kv] for j in keys])
    return out


def softmax(z):
    e = np.exp(z - z.max())
    return e / e.sum()


SSMAX = "ssmax(scale=0.8, bias=0.2)"
# n is the number of visible keys: SSMax notices one key too many or too few.
WEIGH = {
    "softmax": softmax,
    SSMAX: lambda z: softmax((0.8 * np.log(len(z)) + 0.2) * z),
    "sigmoid": lambda z: 1 / (1 + len(z) * np.exp(-z)),
}


CASES = [(SSMAX, spec) for spec in SPECS] + [
    (normalizer, spec)
    for normalizer in ("softmax", "sigmoid")
    for spec in (SPECS[1], SPECS[9])
]


@pytest.mark.parametrize(
    ("normalizer", "spec"), CASES, ids=[f"{n[:7]}-{spec.name}" for n, spec in CASES]
)
def test_reference(normalizer, spec):
    q, k, v = spec.operands(np.float64)
    keywords = spec.keywords(np.float64)
    got = sj.dot_product_attention(
        q, k, v, normalizer=normalizer, implementation="reference", **keywords
    )
    numbers = {
        name: np.asarray(x) if hasattr(x, "shape") else x
        for name, x in keywords.items()
    }
    expected = loops(spec, *map(np.asarray, (q, k, v)), numbers, WEIGH[normalizer])
    np.testing.assert_allclose(got, expected, atol=1e-12)


def test_jax_nn_agrees_where_alignment_does():
    import jax

    spec = SPECS[1]
    q, k, v = spec.operands()
    ours = sj.dot_product_attention(q, k, v, is_causal=True)
    theirs = jax.nn.dot_product_attention(q, k, v, is_causal=True)
    np.testing.assert_allclose(ours, theirs, atol=1e-6)
    q = q[:, :3]
    ours = sj.dot_product_attention(q, k, v, is_causal=True, query_offset=0)
    theirs = jax.nn.dot_product_attention(q, k, v, is_causal=True)
    np.testing.assert_allclose(ours, theirs, atol=1e-6)


def test_three_axes_are_one_example():
    q, k, v = SPECS[0].operands()
    whole = sj.dot_product_attention(q, k, v, normalizer="entmax15")
    one = sj.dot_product_attention(q[0], k[0], v[0], normalizer="entmax15")
    np.testing.assert_allclose(one, whole[0], atol=1e-6)
    assert isinstance(one, jnp.ndarray) and one.ndim == 3
