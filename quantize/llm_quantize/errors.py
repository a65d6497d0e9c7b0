"""Errors that the user reads.

QuantizeError
├─ RecipeError       the recipe is wrong, or its format cannot hold what its method makes
├─ ModelError        the folder is no model, or has layers that are not recognised
├─ CalibrationError  the calibration text is too short, or what it gives is poisoned
├─ OutputError       the result cannot be written
└─ EvaluationError   a model cannot be evaluated or measured, or its results cannot be read or compared
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


class EvaluationError(QuantizeError):
    pass
