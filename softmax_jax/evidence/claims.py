"""A claim of a paper as data, fixed before anything is measured."""

import dataclasses

from softmax_jax.errors import UserError

CHOICES = {
    "setting": ("paper", "same_task_other_data", "stand_in", "mechanism"),
    "status": ("tested", "configured", "not_tested"),
    "direction": ("higher", "lower"),
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Claim:
    """What a paper says, and the comparison that puts it to the test.

    Attributes:
      name: short, unique in the file.
      says: the claim in our own words.
      source: where it stands: arXiv id with section, equation or "abstract"; "" for a
        control of our own.
      verified: whether it was read in the source itself.
      setting: how near the test is to the paper's: its own ("paper"), the same task on
        other data, a stand-in for it, or only the mechanism behind it.
      status: "tested", "configured" (written, not run) or "not_tested".
      why: the reason for the status, or what the test consists of.
      study, metric, treatment, control: which number of which arms; without a control
        the treatment's number itself is held against the margin.
      direction: whether the treatment's number should be "higher" or "lower".
      margin: the difference that counts, fixed before the run, at least 0.
      exact: the numbers are computed without chance, or have to hold for every seed:
        the verdict is the comparison itself, with one seed or more and no interval.
      paper_effect: the paper's own difference; None where it could not be verified.
      sizes: the sizes of the experiment in which the claim is judged.
    """

    name: str
    says: str
    source: str
    verified: bool
    setting: str
    status: str
    why: str
    study: str = ""
    metric: str = ""
    treatment: str = ""
    control: str | None = None
    direction: str = "higher"
    margin: float | int = 0.0
    exact: bool = False
    paper_effect: float | None = None
    sizes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for field, allowed in CHOICES.items():
            if getattr(self, field) not in allowed:
                raise UserError(
                    f"claim {self.name!r}: {field} must be one of "
                    f"{', '.join(allowed)}, got {getattr(self, field)!r}"
                )
        if self.sizes and not (self.study and self.metric and self.treatment):
            raise UserError(
                f"claim {self.name!r} is judged in {', '.join(self.sizes)} and needs "
                "study, metric and treatment"
            )
        if self.margin < 0:
            raise UserError(
                f"claim {self.name!r}: margin must not be negative, got {self.margin}"
            )
