"""A training step through the compiler of chips that are not here."""

from importlib.util import find_spec
from pathlib import Path

import pytest

from softmax_jax.cli import main

CONFIG = f"{Path(__file__).parents[2] / 'configs' / 'lm.py'}:quick"
needs_libtpu = pytest.mark.skipif(
    find_spec("libtpu") is None, reason="needs the TPU compiler: softmax-jax[tpu]"
)


def compile_for(topology, *overrides):
    return main(["compile", CONFIG, "--topology", topology, *overrides])


@pytest.mark.slow
@needs_libtpu
def test_a_step_compiles_for_absent_chips(capsys):
    sharded = ("--config.mesh.fsdp=2", "--config.mesh.tensor=2")
    assert compile_for("v5p:2x2x4", *sharded) == 0
    printed = dict(
        line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines()
    )
    assert printed["chips"] == "16"
    assert "all-gather" in printed["collectives"]


@pytest.mark.slow
@needs_libtpu
def test_what_does_not_fit_a_chip_is_said_in_one_sentence(capsys):
    large = ("--config.training.batch_size=65536", "--config.model.width=1024")
    assert compile_for("v5e:2x2", *large) == 2
    assert "does not fit v5e:2x2: a chip needs" in capsys.readouterr().err


@needs_libtpu
def test_a_topology_that_does_not_exist_is_refused(capsys):
    assert compile_for("v99:2x2") == 2
    assert "topology='v99:2x2' is not one of a TPU" in capsys.readouterr().err


@pytest.mark.skipif(find_spec("libtpu") is not None, reason="the compiler is installed")
def test_without_the_compiler_its_installation_is_named(capsys):
    assert compile_for("v5e:2x2") == 2
    assert "pip install softmax-jax[tpu]" in capsys.readouterr().err


def test_an_experiment_without_training_runs_is_refused(capsys):
    command = ["compile", "dot_product_scaling:quick", "--topology", "v5e:2x2"]
    assert main(command) == 2
    assert "trains nothing that is meant for a pod" in capsys.readouterr().err
