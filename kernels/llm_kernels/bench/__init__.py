"""Measuring: every figure is of results that were checked first, on a cold L2, against ceilings of the same run."""
