"""The error a user can cause and mend."""


class UserError(ValueError):
    """Bad input, told in one sentence: what was given and what is allowed."""
