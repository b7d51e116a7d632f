"""Training: `fit(config, folder)` runs or resumes; the other files are its parts."""

from softmax_jax.training.config import RunConfig as RunConfig
from softmax_jax.training.config import TrainingConfig as TrainingConfig
from softmax_jax.training.config import from_mapping as from_mapping
from softmax_jax.training.config import to_mapping as to_mapping
from softmax_jax.training.loop import FitResult as FitResult
from softmax_jax.training.loop import fit as fit
from softmax_jax.training.loop import load_model as load_model
from softmax_jax.training.train_log import TrainingDiverged as TrainingDiverged
