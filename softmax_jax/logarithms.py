"""log_<name> of every row: the logarithm of the weights and its stable gradient."""

import functools
import inspect
from collections.abc import Callable

from jax import Array

from softmax_jax.catalogue import CATALOGUE


def _logarithm(name: str) -> Callable[..., Array]:
    """The function `log_<name>`, with the signature of the function `<name>`."""
    row = CATALOGUE[name]

    @functools.wraps(row.function)
    def log_weights(x, *, axis=-1, where=None, **parameters):
        return row.cls(**parameters).log(x, axis=axis, where=where)

    signature = inspect.signature(row.function)
    log_weights.__signature__ = signature  # type: ignore[attr-defined]
    log_weights.__name__ = log_weights.__qualname__ = f"log_{name}"
    log_weights.__module__ = __name__
    log_weights.__doc__ = (
        f"log p, with p the weights of `{name}`: {row.cls.formula}.\n\n"
        f"    The arguments of `{name}`. Finite, with its gradient, where a positive\n"
        "    weight underflows; -inf without a gradient where a score is masked or\n"
        "    weighs exactly 0.\n    "
    )
    return log_weights


log_softmax = _logarithm("softmax")
log_softmax1 = _logarithm("softmax1")
log_ssmax = _logarithm("ssmax")
log_sigsoftmax = _logarithm("sigsoftmax")
log_logistic_softmax = _logarithm("logistic_softmax")
log_multimax = _logarithm("multimax")
log_softpick = _logarithm("softpick")
log_sparse_softmax = _logarithm("sparse_softmax")
log_t_softmax = _logarithm("t_softmax")
log_r_softmax = _logarithm("r_softmax")
log_sparsemax = _logarithm("sparsemax")
log_entmax15 = _logarithm("entmax15")
log_entmax = _logarithm("entmax")
log_sigmoid = _logarithm("sigmoid")
log_relu = _logarithm("relu")
log_relu_power = _logarithm("relu_power")
