"""Errors that the user reads when a model cannot be quantised.

QuantizeError
├─ RecipeError       the recipe is wrong, or its format cannot hold what its method makes
├─ ModelError        the folder is no model, or has layers that are not recognised
├─ CalibrationError  the calibration text is too short, or what it gives is poisoned
└─ OutputError       the result cannot be written
"""

from __future__ import annotations


class QuantizeError(Exception):
    """The message says what was wrong, what is allowed and what to do."""


class RecipeError(QuantizeError):
    pass


class ModelError(QuantizeError):
    pass


class CalibrationError(QuantizeError):
    pass


class OutputError(QuantizeError):
    pass
