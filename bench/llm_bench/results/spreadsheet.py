"""Cells of CSV files that people open in a spreadsheet."""

from __future__ import annotations

_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")


def quote_formula(text: str) -> str:
    """Return the text, behind a quote if a spreadsheet would take it for a formula.

    Texts come from servers. https://owasp.org/www-community/attacks/CSV_Injection
    """
    return f"'{text}" if text.startswith(_FORMULA_STARTS) else text
