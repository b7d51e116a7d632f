"""What one arm of a study gives."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Outcome:
    """Numbers by name, and perhaps a sample of text."""

    metrics: Mapping[str, float]
    sample: str = ""
