"""Pure functions that measure weights: what attention does, in numbers."""
