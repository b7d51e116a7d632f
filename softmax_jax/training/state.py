"""What a training run carries from step to step, as one pytree of arrays."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import nnx

PyTree = Any


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class TrainState:
    """Parameters (an nnx state), the optimizer's state and the number of steps done.

    The leaves are arrays, or what stands for them: their shapes, or their shardings.
    """

    params: PyTree
    opt_state: PyTree
    step: PyTree


def abstract_model(
    model: Callable[[nnx.Rngs], nnx.Module],
) -> tuple[nnx.GraphDef, PyTree]:
    """The model's graph and the shapes of its parameters; nothing is computed."""
    return nnx.split(nnx.eval_shape(lambda: model(nnx.Rngs(0))), nnx.Param)


def initial_state(
    model: Callable[[nnx.Rngs], nnx.Module],
    optimizer: optax.GradientTransformation,
    seed: int,
) -> TrainState:
    """The state before the first step; call it under `jax.jit` with out_shardings."""
    params = nnx.state(model(nnx.Rngs(seed)), nnx.Param)
    return TrainState(params, optimizer.init(params), jnp.zeros((), jnp.int32))


def leaf_name(path: tuple[Any, ...]) -> str:
    """A leaf's path as text, such as `params.blocks.0.attention.query.kernel`."""
    return jax.tree_util.keystr(path, simple=True, separator=".").removesuffix(".value")


def to_named(tree: PyTree) -> dict[str, Any]:
    """The leaves of `tree` by name."""
    leaves, _ = jax.tree_util.tree_flatten_with_path(tree)
    return {leaf_name(path): leaf for path, leaf in leaves}


def from_named(like: PyTree, named: dict[str, Any]) -> PyTree:
    """A tree of the structure of `like` with the leaves of `named`."""
    return jax.tree_util.tree_map_with_path(
        lambda path, _: named[leaf_name(path)], like
    )
