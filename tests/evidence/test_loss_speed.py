"""Times are compared the right way round."""

from pathlib import Path

import pytest

from softmax_jax.evidence.studies import loss_speed


@pytest.mark.slow
def test_ratios_are_of_the_times_that_are_given() -> None:
    config = loss_speed.LossSpeedConfig(rows=2, classes=16, repeats=1)
    metrics = loss_speed.run(config, 0, Path(), "").metrics
    ours = metrics["milliseconds@sparse_softmax"]
    for name in ("softmax", "sparsemax", "entmax15"):
        ratio = ours / metrics[f"milliseconds@{name}"]
        assert metrics[f"ratio@{name}"] == pytest.approx(ratio)
