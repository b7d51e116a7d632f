"""An encoder-decoder that translates, judged by BLEU and chrF.

    softmax-jax train configs/translation.py:quick --config.model.normalizer="entmax15"

| size  | data, model (layers x width)           | hardware | time    | test BLEU    |
|-------|----------------------------------------|----------|---------|--------------|
| quick | Django's messages, en to fr, 2 x 128   | 2 cores  | not run | not measured |
| small | manual pages, en to fr, 3 x 256        | 2 cores  | not run | not measured |
| paper | WMT14 en to de, the base Transformer   | a pod    | not run | not measured |

The 863 messages of `quick` are too few to learn a language of. `small` needs Debian's
packages manpages, manpages-dev, manpages-fr and manpages-fr-dev. `paper` has the sizes
and the number of steps of Vaswani et al. (arXiv 1706.03762, table 3), and no dropout.

Less than `small`, 2 x 256 with 4000 pieces and 905 batches of 32 x 64 tokens in two
stages (700 of 2000 steps, then up to 905 of 1200), had a BLEU of 23.5 and a chrF of
40.8 on the 886 test paragraphs that fit.
"""

from typing import Any

from ml_collections import ConfigDict

from softmax_jax.errors import UserError


def get_config(size: str = "quick") -> ConfigDict:
    """The settings of one size: `quick`, `small` or `paper`."""
    sizes = {"quick": _quick, "small": _small, "paper": _paper}
    if size not in sizes:
        raise UserError(f"size={size!r} is unknown; use {' or '.join(sizes)}.")
    config = ConfigDict(
        {
            "task": "translation",
            "model": {"vocabulary": 0, "normalizer": "softmax"},
            "data": {"name": "django", "source": "en", "target": "fr"},
            "optimizer": {"weight_decay": 0.05},
            "training": {"seed": 0, "label_smoothing": 0.1},
            "mesh": {"data": -1, "rules": {}},
        }
    )
    config.update(sizes[size]())
    return config


def _quick() -> dict[str, Any]:
    return {
        "model": {"layers": 2, "width": 128, "heads": 4},
        "data": {"vocabulary": 1000},
        "optimizer": {"learning_rate": 2e-3, "warmup": 50},
        "training": {
            "steps": 300,
            "batch_size": 16,
            "sequence_length": 64,
            "log_every": 20,
            "eval_every": 150,
            "checkpoint_every": 150,
        },
    }


def _small() -> dict[str, Any]:
    return {
        "model": {"layers": 3, "width": 256, "heads": 4},
        "data": {"name": "manpages", "vocabulary": 8000},
        "optimizer": {"learning_rate": 1e-3, "warmup": 200},
        "training": {
            "steps": 3000,
            "batch_size": 16,
            "sequence_length": 128,
            "log_every": 50,
            "eval_every": 1000,
            "checkpoint_every": 500,
        },
    }


def _paper() -> dict[str, Any]:
    return {
        "model": {
            "layers": 6,
            "width": 512,
            "heads": 8,
            "mlp_width": 2048,
            "mlp": "relu",
            "norm": "layer",
            "positions": "sinusoid",
            "vocabulary": 37_000,
            "dtype": "bfloat16",
            "scan": True,
        },
        "data": {
            "name": "tfds:wmt14_translate/de-en",
            "target": "de",
            "vocabulary": 37_000,
        },
        "optimizer": {"learning_rate": 7e-4, "warmup": 4000, "b2": 0.98},
        "training": {
            "steps": 100_000,
            "batch_size": 128,
            "sequence_length": 256,
            "log_every": 100,
            "eval_every": 2000,
            "checkpoint_every": 1000,
        },
    }
