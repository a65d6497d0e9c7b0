"""Fails test_versions_compare_as_numbers: a version stays text, part by part.

"60" sorts before "9". The comparison is right for years, until a part gets its second digit.
"""


def version(text: str) -> Version:
    return tuple(text.split("."))
