"""Datasets made from nothing around known effects: try a reader, a figure or the analysis without a machine."""

from sparkray.simulate.study import Plant, plant

__all__ = ["Plant", "plant"]
