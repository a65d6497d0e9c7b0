"""Expectations of drills: a block of YAML in a runbook, which readers and the drill read alike.

```yaml title="./lab drill kill-engine"
alert: TargetDown
within: 30
```
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from llm_deploy import paths
from llm_deploy.errors import UsageError

RUNBOOKS = paths.ROOT / "docs" / "runbooks"
_BLOCK = re.compile(r'^```yaml title="\./lab drill ([\w-]+)"\n(.*?)^```$', re.MULTILINE | re.DOTALL)


class Expectation(BaseModel):
    """Times are in seconds from the moment of the fault, or of its repair."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    alert: str | None = Field(None, description="alert that fires; without one, no alert of availability does")
    within: float = Field(30.0, gt=0, description="time in which all of it is to be seen")
    resolved_within: float = Field(60.0, gt=0, description="time in which the alert ends after the repair")
    clients: tuple[int, ...] = Field((200,), description="statuses that clients may get")
    metrics: tuple[str, ...] = Field((), description="PromQL that has a value once the fault shows")
    observed: dict[str, int | str] = Field({}, description="what the drill's own look finds")


@dataclass(frozen=True)
class Written:
    """An expectation and the page in which it stands."""

    drill: str
    page: Path
    expectation: Expectation


def read(folder: Path = RUNBOOKS) -> dict[str, Written]:
    """Return the expectations of all runbooks by drill. Raises UsageError for a block that is wrong or stands twice."""
    found: dict[str, Written] = {}
    for page in sorted(folder.glob("*.md")):
        for drill, text in _BLOCK.findall(page.read_text(encoding="utf-8")):
            if drill in found:
                raise UsageError(f"{page.name}: the drill {drill} has its expectation in {found[drill].page.name}")
            try:
                found[drill] = Written(drill, page, Expectation.model_validate(yaml.safe_load(text)))
            except (ValidationError, yaml.YAMLError) as error:
                raise UsageError(f"{page.name}: the expectation of {drill} is wrong: {_first(error)}") from error
    return found


def _first(error: ValidationError | yaml.YAMLError) -> str:
    if isinstance(error, ValidationError):
        one = error.errors()[0]
        return f"{'.'.join(map(str, one['loc']))}: {one['msg']}"
    return str(error).replace("\n", " ")
