"""Our own predictions for the lookup task over the whole catalogue.

No paper made them for this task. They come from a pilot of ours on a similar one, were
fixed before the run that is reported, and none was changed after it; one single-seed
trial of softmax and of ssmax at size quick had been looked at.
"""

from typing import Any

from softmax_jax.evidence.claims import Claim

SIZES = ("quick", "small")


def prediction(name: str, says: str, why: str, **test: Any) -> Claim:
    """A control of our own that is tested at every size."""
    return Claim(
        name=name,
        says=says,
        source="",
        verified=False,
        setting="mechanism",
        status="tested",
        why=why,
        study="length_generalization",
        sizes=SIZES,
        **test,
    )


CLAIMS = [
    prediction(
        "the task is learned",
        "Softmax solves the task at the lengths it was trained on.",
        "Without this the rest says nothing.",
        metric="accuracy@32",
        treatment="softmax",
        margin=0.95,
    ),
    prediction(
        "log n keeps its focus",
        "SSMax does far better than softmax at 32 times the training length.",
        "The pilot had 1.00 against 0.52.",
        metric="accuracy@1024",
        treatment="ssmax",
        control="softmax",
        margin=0.3,
    ),
    prediction(
        "top-k holds",
        "Softmax over the four largest scores still solves the task at 32 times the "
        "training length.",
        "What the other keys add is cut off, however many there are.",
        metric="accuracy@1024",
        treatment="sparse_softmax",
        margin=0.9,
    ),
    prediction(
        "entmax above softmax",
        "1.5-entmax does better than softmax at 32 times the training length.",
        "It gives exact zeros to low scores, but its threshold does not follow n.",
        metric="accuracy@1024",
        treatment="entmax15",
        control="softmax",
    ),
    prediction(
        "sparsemax above softmax",
        "Sparsemax does better than softmax at 32 times the training length.",
        "As for entmax.",
        metric="accuracy@1024",
        treatment="sparsemax",
        control="softmax",
    ),
    prediction(
        "entmax with log n above softmax",
        "1.5-entmax of scores times s log n does far better than softmax.",
        "ASEntmax (arXiv 2506.16640) with its scale held fixed.",
        metric="accuracy@1024",
        treatment="entmax15_log_length",
        control="softmax",
        margin=0.3,
    ),
    prediction(
        "MultiMax above softmax",
        "MultiMax does better than softmax at 32 times the training length.",
        "It can press the low scores further down; the pilot had 0.87 against 0.52.",
        metric="accuracy@1024",
        treatment="multimax",
        control="softmax",
        margin=0.1,
    ),
    prediction(
        "MultiMax below SSMax",
        "SSMax does better than MultiMax, whose map does not follow n.",
        "The pilot had 1.00 against 0.87.",
        metric="accuracy@1024",
        treatment="ssmax",
        control="multimax",
    ),
    prediction(
        "sigsoftmax fades",
        "Sigsoftmax fades as softmax does: SSMax is far better.",
        "The pilot had 0.56 for it.",
        metric="accuracy@1024",
        treatment="ssmax",
        control="sigsoftmax",
        margin=0.3,
    ),
    prediction(
        "r-softmax above softmax",
        "Dropping the lower half of every row helps.",
        "The pilot had 0.70 against 0.52.",
        metric="accuracy@1024",
        treatment="r_softmax",
        control="softmax",
    ),
    prediction(
        "a ReLU alone fades",
        "ReLU attention without a norm does worse than SSMax.",
        "Nothing bounds what the other keys add together. The pilot had 0.46 for "
        "ReLA-g, which this arm is without its norm.",
        metric="accuracy@1024",
        treatment="ssmax",
        control="relu",
        margin=0.1,
    ),
    prediction(
        "key lengths collapse",
        "Scores divided by the sum of the key lengths fail at twice the training "
        "length, where softmax does not.",
        "The divisor grows with n. The pilot had 0.32 at 64 pairs.",
        metric="accuracy@64",
        treatment="softmax",
        control="softmax_key_lengths",
        margin=0.3,
    ),
    prediction(
        "a growing temperature helps softmax",
        "Softmax of scores times max(1, log n / log 32) does better than softmax.",
        "The same as softmax up to 32 pairs, sharper beyond.",
        metric="accuracy@1024",
        treatment="softmax_log_n",
        control="softmax",
    ),
]
