"""Several processes, one run: every process starts the same command."""

import jax

from softmax_jax.errors import UserError


def initialize() -> None:
    """Joins the processes of this job, which JAX finds by itself.

    On Slurm, Open MPI, Kubernetes, GKE and TPU pods it needs no argument. Call it
    before anything asks JAX for a device.
    """
    try:
        jax.distributed.initialize()
    except (ValueError, RuntimeError) as error:
        raise UserError(
            f"--distributed: JAX could not join the processes of a job: {error} It "
            "finds Slurm, Open MPI, Kubernetes and TPU pods; leave the flag out for "
            "one process."
        ) from None
