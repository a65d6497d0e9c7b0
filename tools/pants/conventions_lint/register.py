"""A linter for `./pants lint`: runs conventions.py on every Python file at once, for imports and folders span files.

It runs outside Pants' own process, whose Python is older than the code it reads.
"""

from __future__ import annotations

from dataclasses import dataclass

from pants.backend.python.target_types import PythonSourceField
from pants.backend.python.util_rules.interpreter_constraints import InterpreterConstraints
from pants.backend.python.util_rules.pex import PexRequest, VenvPex, VenvPexProcess
from pants.core.goals.lint import LintResult, LintTargetsRequest
from pants.core.util_rules.partitions import PartitionerType
from pants.core.util_rules.source_files import SourceFiles, SourceFilesRequest
from pants.engine.fs import Digest, MergeDigests, PathGlobs
from pants.engine.process import FallibleProcessResult
from pants.engine.rules import Get, MultiGet, collect_rules, rule
from pants.engine.target import FieldSet
from pants.option.option_types import SkipOption
from pants.option.subsystem import Subsystem

PROGRAM = "tools/pants/conventions_lint/conventions.py"


class ConventionsLint(Subsystem):
    options_scope = "conventions-lint"
    name = "conventions"
    help = "Checks docstrings, sizes, parameters and import circles: see tools/pants/conventions_lint/conventions.py."
    skip = SkipOption("lint")


@dataclass(frozen=True)
class ConventionsFieldSet(FieldSet):
    required_fields = (PythonSourceField,)
    source: PythonSourceField


class ConventionsRequest(LintTargetsRequest):
    field_set_type = ConventionsFieldSet
    tool_subsystem = ConventionsLint
    partitioner_type = PartitionerType.DEFAULT_SINGLE_PARTITION


@rule(desc="Check conventions")
async def check_conventions(request: ConventionsRequest.Batch) -> LintResult:
    sources, program, python = await MultiGet(
        Get(SourceFiles, SourceFilesRequest(each.source for each in request.elements)),
        Get(Digest, PathGlobs([PROGRAM])),
        Get(
            VenvPex,
            PexRequest(
                output_filename="conventions.pex",
                internal_only=True,
                interpreter_constraints=InterpreterConstraints(["CPython==3.11.*"]),
            ),
        ),
    )
    inputs = await Get(Digest, MergeDigests([sources.snapshot.digest, program]))
    result = await Get(
        FallibleProcessResult,
        VenvPexProcess(
            python,
            argv=(PROGRAM, *sources.snapshot.files),
            input_digest=inputs,
            description=f"Check conventions in {len(sources.snapshot.files)} files",
        ),
    )
    return LintResult.create(request, result)


def rules():
    return [*collect_rules(), *ConventionsRequest.rules()]
