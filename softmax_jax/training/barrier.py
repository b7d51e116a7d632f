"""A point that all processes reach before any goes on, or that ends in an error."""

import collections

import jax
from orbax.checkpoint import multihost

from softmax_jax.errors import UserError

# How often this process stood at the barrier of each name: JAX wants a new name for
# every time, and all processes stand at the same barriers in the same order.
_times: collections.Counter[str] = collections.Counter()


def barrier(name: str, seconds: float) -> None:
    """Waits for the other processes; raises where one is not there in time.

    Nothing is computed on the devices, which may hang. One process alone goes on.
    """
    _times[name] += 1
    wait = multihost.get_barrier_sync_fn()
    key = f"softmax_jax.{name}.{_times[name]}"
    try:
        wait(key=key, timeout_ms=round(1000 * seconds))
    except jax.errors.JaxRuntimeError as error:
        raise UserError(
            f"Barrier {name!r}: not all of the {jax.process_count()} processes came "
            f"within {seconds:g} s; one of them is lost or far behind."
        ) from error
