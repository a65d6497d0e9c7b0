"""Label selectors as Kubernetes writes them in a query string: `model_name=main,class in (batch,standard),!draft`."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

Matches = Callable[[Mapping[str, str]], bool]
_LABEL = r"[A-Za-z0-9_./-]+"
_TERM = re.compile(
    rf"\s*(?:(?P<not>!)\s*(?P<absent>{_LABEL})"
    rf"|(?P<label>{_LABEL})\s*(?:(?P<operator>==|=|!=)\s*(?P<value>{_LABEL}|)"
    rf"|\s(?P<set>in|notin)\s*\((?P<values>[^()]*)\))?)\s*(?:,|$)"
)


def parse_selector(text: str) -> Matches:
    """Return a predicate over labels; an empty text matches all. Raise ValueError for what is no selector."""
    terms, at = [], 0
    while at < len(text):
        found = _TERM.match(text, at)
        if found is None or found.end() == at:
            raise ValueError(f"{text!r} is no label selector; write a=b, a!=b, a in (b,c), a notin (b,c), a or !a")
        terms.append(_term(found))
        at = found.end()
    return lambda labels: all(term(labels) for term in terms)


def _term(found: re.Match[str]) -> Matches:
    if absent := found["absent"]:
        return lambda labels: absent not in labels
    label, operator = found["label"], found["operator"] or found["set"]
    if operator is None:
        return lambda labels: label in labels
    values = found["values"].split(",") if found["set"] else [found["value"]]
    allowed = {value.strip() for value in values}
    if operator in ("!=", "notin"):
        return lambda labels: labels.get(label) not in allowed  # a missing label matches, as in Kubernetes
    return lambda labels: labels.get(label) in allowed
