"""A linter for `./pants lint`: resolves every target's dependencies, so that a breach of the root BUILD's rules fails.

Pants checks visibility whenever it computes dependencies (test, check, package); its `lint` alone never does.
"""

from __future__ import annotations

from dataclasses import dataclass

from pants.backend.python.target_types import PythonSourceField
from pants.core.goals.lint import LintResult, LintTargetsRequest
from pants.core.util_rules.partitions import PartitionerType
from pants.engine.addresses import Addresses
from pants.engine.rules import Get, MultiGet, collect_rules, rule
from pants.engine.target import Dependencies, DependenciesRequest, FieldSet
from pants.option.option_types import SkipOption
from pants.option.subsystem import Subsystem


class VisibilityLint(Subsystem):
    options_scope = "visibility-lint"
    name = "visibility"
    help = "Checks __dependencies_rules__ of every Python source."
    skip = SkipOption("lint")


@dataclass(frozen=True)
class VisibilityFieldSet(FieldSet):
    required_fields = (PythonSourceField, Dependencies)
    dependencies: Dependencies


class VisibilityRequest(LintTargetsRequest):
    field_set_type = VisibilityFieldSet
    tool_subsystem = VisibilityLint
    partitioner_type = PartitionerType.DEFAULT_SINGLE_PARTITION


@rule(desc="Check visibility rules")
async def check_visibility(request: VisibilityRequest.Batch) -> LintResult:
    await MultiGet(Get(Addresses, DependenciesRequest(each.dependencies)) for each in request.elements)
    return LintResult(0, f"{len(request.elements)} sources keep the rules", "", request.tool_name)


def rules():
    return [*collect_rules(), *VisibilityRequest.rules()]
