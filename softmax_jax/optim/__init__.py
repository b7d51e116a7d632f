"""Optimizers: optax chains whose rules go by the kind of each parameter."""

from softmax_jax.optim.adamw import OptimizerConfig as OptimizerConfig
from softmax_jax.optim.adamw import learning_rate as learning_rate
from softmax_jax.optim.adamw import make_optimizer as make_optimizer
from softmax_jax.optim.labels import labels as labels
