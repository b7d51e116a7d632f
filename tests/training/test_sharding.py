"""Where parameters and moments live, and what is said when they cannot."""

import jax
import numpy as np
import pytest
from jax.sharding import PartitionSpec as P

from softmax_jax.errors import UserError
from softmax_jax.training import program as programs
from softmax_jax.training.checkpoint import Checkpoints
from softmax_jax.training.config import MeshConfig, RulesConfig
from softmax_jax.training.sharding import make_mesh
from softmax_jax.training.state import to_named

MESH = {"data": 2, "fsdp": 2, "tensor": 2}


def test_moments_live_with_their_parameters(config):
    shardings = to_named(programs.build(config(**MESH)).shardings)
    query = "blocks.0.attention.query.kernel"
    expected = {
        query: P("fsdp", "tensor", None),
        "blocks.0.attention.out.kernel": P("tensor", None, "fsdp"),
        "blocks.0.mlp.gate.kernel": P("fsdp", "tensor"),
        "blocks.0.mlp.down.kernel": P("tensor", "fsdp"),
        "embed.embedding": P("tensor", "fsdp"),
        "final_norm.scale": P(),
        "blocks.0.attention.normalizer.scale": P(),
    }
    for name, spec in expected.items():
        found = {key for key in shardings if key.endswith("." + name)}
        assert len(found) == 3  # the parameter and its two moments
        assert all(shardings[key].spec == spec for key in found)
    assert all(x.mesh.shape[name] == 2 for x in shardings.values() for name in MESH)


def test_a_dimension_that_does_not_divide_is_refused(config):
    with pytest.raises(UserError, match=r"key.kernel .*axis 1 .* mesh.tensor=4"):
        programs.build(config(data=2, tensor=4))


def test_a_batch_that_does_not_divide_is_refused(config):
    with pytest.raises(UserError, match="batch_size=8 .*accumulation=3 x 1 devices"):
        programs.build(config(accumulation=3))


@pytest.mark.parametrize("sizes", [(16, 1, 1), (-1, 3, 1), (0, 1, 1), (-1, 16, 1)])
def test_a_mesh_that_does_not_fit_is_refused(sizes):
    with pytest.raises(UserError, match="does not fit 8 devices"):
        make_mesh(MeshConfig(data=sizes[0], fsdp=sizes[1], tensor=sizes[2]))


def test_a_mesh_takes_the_remaining_devices():
    mesh = make_mesh(MeshConfig(replica=2, context=2))
    shape = {"replica": 2, "data": 2, "fsdp": 1, "tensor": 1, "context": 2}
    assert dict(mesh.shape) == shape
    assert make_mesh(MeshConfig(data=1)).size == 1


def test_rules_say_what_is_split_over_which_axis(config):
    rules = RulesConfig(width=None, mlp="fsdp", vocabulary="data")
    shardings = to_named(programs.build(config(**MESH, rules=rules)).shardings)
    for name, spec in {
        "params.blocks.0.mlp.gate.kernel": P(None, "fsdp"),
        "params.blocks.0.mlp.down.kernel": P("fsdp", None),
        "params.embed.embedding": P("data", None),
        "params.blocks.0.attention.query.kernel": P(None, "tensor", None),
    }.items():
        assert shardings[name].spec == spec


def test_an_axis_that_does_not_exist_is_refused(config):
    with pytest.raises(UserError, match="mesh.rules: 'model' is no axis; use replica"):
        programs.build(config(rules=RulesConfig(width="model")))


def test_a_checkpoint_is_restored_onto_the_present_mesh(config, tmp_path):
    state = programs.build(config()).initial()
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(1, to_named(state), {"x": 1})
        checkpoints.wait()
        program = programs.build(config(**MESH))
        restored, _ = programs.restored(program, checkpoints)
    for found, where, saved in zip(
        jax.tree.leaves(restored),
        jax.tree.leaves(program.shardings),
        jax.tree.leaves(state),
        strict=True,
    ):
        assert found.sharding == where
        np.testing.assert_array_equal(found, saved)
