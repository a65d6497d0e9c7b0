"""Alert and recording rules: files in Prometheus's format, checked as a whole before any of it is used.

An unknown key, a duration or an expression that does not parse names its file, line and column.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Final

import promql_parser
import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from llm_monitor.alerts.settings import AlertSettings, SloSettings
from llm_monitor.alerts.templates import Template
from llm_monitor.promql import Expression, parse

BUILTIN: Final = "rules.yaml"
DEFAULT_INTERVAL: Final = 1.0
_ZERO = re.compile(r"0+(ms|[smhdwy])?")
_PLACEHOLDER = re.compile(r"\$\{slo\.(\w+)\}")
_RUNBOOK = re.compile(r"^(\s*runbook: )(runbooks/(\w+))$", re.MULTILINE)


class InvalidRules(ValueError):
    """A rule file is wrong. The message begins with `file:line:column`."""


class UnknownPlaceholder(ValueError):
    """A `${slo.…}` that stands for nothing. The message begins with `line:column`."""


def _seconds(value: Any) -> float:
    """Return a duration of Prometheus, such as 1m30s, in seconds."""
    if _ZERO.fullmatch(str(value)):
        return 0.0  # which the library refuses
    if not isinstance(value, str):
        raise ValueError(f"{value!r} is no duration; write it with its unit, as in 30s or 1m30s")
    try:
        return promql_parser.parse_duration(value).total_seconds()
    except ValueError:
        raise ValueError(f"{value!r} is no duration; write it as in 30s or 1m30s") from None


Duration = Annotated[float, BeforeValidator(_seconds)]
PromQL = Annotated[Expression, BeforeValidator(lambda text: parse(str(text).strip()))]
Text = Annotated[Template, BeforeValidator(lambda text: Template(str(text)))]


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)


class Rule(_Model):
    """An alert rule or, if `record` is given, a recording rule."""

    alert: str = ""
    record: str = Field("", pattern=r"^([a-zA-Z_:][a-zA-Z0-9_:]*)?$")
    expr: PromQL
    hold: Duration = Field(0.0, alias="for")
    """Seconds for which the expression must hold before the alert fires."""
    keep_firing_for: Duration = 0.0
    labels: Mapping[str, Text] = {}
    annotations: Mapping[str, Text] = {}

    @model_validator(mode="after")
    def _one_kind(self) -> Rule:
        if bool(self.alert) == bool(self.record):
            raise ValueError("a rule has either `alert` or `record`, its name")
        if self.record and (self.hold or self.keep_firing_for or self.annotations):
            raise ValueError("a recording rule has no `for`, `keep_firing_for` or `annotations`")
        return self

    @property
    def name(self) -> str:
        return self.alert or self.record


class RuleGroup(_Model):
    """Rules that are evaluated one after the other, so that later ones read what earlier ones record."""

    name: str
    interval: Duration = DEFAULT_INTERVAL
    rules: Sequence[Rule]


class _File(_Model):
    groups: Sequence[RuleGroup]


@dataclass(frozen=True, slots=True)
class Rules:
    groups: tuple[RuleGroup, ...]

    def __iter__(self) -> Iterator[Rule]:
        return (rule for group in self.groups for rule in group.rules)

    @property
    def alerts(self) -> list[Rule]:
        return [rule for rule in self if rule.alert]


def load(settings: AlertSettings) -> Rules:
    """Return the built-in rules and those of the configured files. Raises InvalidRules."""
    files = [parse_rules(text, name, settings.slo) for name, text in texts(settings)]
    groups = tuple(group for file in files for group in file.groups)
    if repeated := [name for name, count in Counter(group.name for group in groups).items() if count > 1]:
        raise InvalidRules(f"two groups have the name {repeated[0]!r}")
    return Rules(groups)


def texts(settings: AlertSettings) -> list[tuple[str, str]]:
    """Return name and text of each rule file. Raises InvalidRules."""
    found = [(BUILTIN, builtin_text())] if settings.builtin else []
    for path in settings.rules:
        try:
            found.append((str(path), path.read_text(encoding="utf-8")))
        except (OSError, UnicodeDecodeError) as error:
            raise InvalidRules(f"{path}:1:1: cannot be read: {error}") from None
    return [(name, _RUNBOOK.sub(partial(_link, settings.runbooks), text)) for name, text in found]


def _link(address: str, found: re.Match[str]) -> str:
    return found[1] + (address.replace("{name}", found[3]) if address else found[2])


def load_files(paths: Iterable[Path], slo: SloSettings | None = None) -> Rules:
    """Return the rules of some files. Raises InvalidRules."""
    return load(AlertSettings(builtin=False, rules=list(paths), slo=slo or SloSettings()))


def builtin_text() -> str:
    return resources.files("llm_monitor.alerts").joinpath(BUILTIN).read_text(encoding="utf-8")


def parse_rules(text: str, name: str, slo: SloSettings) -> Rules:
    """Return the rules of a file's text; `name` stands for it in errors. Raises InvalidRules."""
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
        content = yaml.safe_load(fill(text, slo))
    except yaml.MarkedYAMLError as error:
        raise InvalidRules(f"{name}:{_at(error.problem_mark)}: {error.problem}") from None
    except UnknownPlaceholder as error:
        raise InvalidRules(f"{name}:{error}") from None
    except yaml.YAMLError as error:
        raise InvalidRules(f"{name}:1:1: {error}") from None
    try:
        return Rules(tuple(_File.model_validate(content).groups))
    except ValidationError as error:
        # A key with a spelling mistake is unknown, and the right one is missing: the first says more.
        problem = min(error.errors(), key=lambda each: each["type"] != "extra_forbidden")
        message = problem["msg"].removeprefix("Value error, ")
        if problem["type"] in ("extra_forbidden", "missing"):
            message = f"{'unknown' if problem['type'] == 'extra_forbidden' else 'missing'} key {problem['loc'][-1]!r}"
        raise InvalidRules(f"{name}:{_position(root, problem['loc'])}: {message}") from None


def fill(text: str, slo: SloSettings) -> str:
    """Return the text of a rule file with the objectives for `${slo.…}`. Raises UnknownPlaceholder."""
    values = slo.values()

    def value(found: re.Match[str]) -> str:
        if found[1] not in values:
            line, column = text.count("\n", 0, found.start()) + 1, found.start() - text.rfind("\n", 0, found.start())
            raise UnknownPlaceholder(f"{line}:{column}: {found[0]} is not known; there are {', '.join(values)}")
        return values[found[1]]

    return _PLACEHOLDER.sub(value, text)


def _position(root: yaml.Node | None, path: Sequence[int | str]) -> str:
    """Return line and column of the deepest node on a path; for an unknown key that of the key."""
    node, mark = root, root.start_mark if root else None
    for step in path:
        if isinstance(node, yaml.MappingNode):
            found = next(((key, value) for key, value in node.value if key.value == step), None)
            if found is None:
                break
            mark, node = found[0].start_mark, found[1]
        elif isinstance(node, yaml.SequenceNode) and isinstance(step, int) and step < len(node.value):
            node = node.value[step]
            mark = node.start_mark
        else:
            break
    return _at(mark)


def _at(mark: yaml.Mark | None) -> str:
    return f"{mark.line + 1}:{mark.column + 1}" if mark else "1:1"
