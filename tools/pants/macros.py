"""Macros that every BUILD file can call."""


def project(
    package,
    *,
    command=None,
    data=(),
    test_dependencies=(),
    test_timeout=None,
    light_tests=False,
    own_process=(),
    alone=(),
):
    """Make a project's targets: `:lib` (the import package), `:data` (its files), `:tests`, and `:<command>`, its PEX.

    package            import package, in the folder of the same name, next to BUILD
    command            name of the program, e.g. "llm-gateway" -> dist/llm-gateway.pex; None for a library
    data               globs of files that the package reads at run time
    test_dependencies  what tests need and Pants cannot infer: models, a server that they start
    light_tests        test files share processes, a dozen to each: starting one takes longer than most of them
    own_process        globs of those that share none: they change their process, or are long
    alone              test files that judge milliseconds: .ci/run gives them the machine
    """
    resources(name="data", sources=[f"{package}/py.typed", *data])
    python_sources(name="lib", sources=[f"{package}/**/*.py"], dependencies=[":data"])
    python_test_utils(name="test_utils", sources=["tests/**/conftest.py", "tests/support_*.py"], skip_mypy=True)
    common = {
        "dependencies": [":lib", *test_dependencies],
        "timeout": test_timeout,
        "skip_mypy": True,
    }
    python_tests(
        name="tests",
        sources=["tests/**/test_*.py", *(f"!{files}" for files in (*own_process, *alone))],
        batch_compatibility_tag=package if light_tests else None,
        **common,
    )
    if own_process:
        python_tests(name="own_process_tests", sources=own_process, **common)
    if alone:
        python_tests(name="alone_tests", sources=alone, tags=["alone"], **common)
    if command:
        pex_binary(
            name=command,
            entry_point=f"{package}.__main__",
            output_path=f"{command}.pex",
            dependencies=[":lib"],
        )


def exercise(folder):
    """An exercise of the course: `:<folder>`, its files, and `:<folder>_tests`, its tests on the solution.

    Starter, wrong solutions and task are the business of `exercise_gates`. Tests of several exercises share a process.
    """
    resources(name=f"{folder}_texts", sources=[f"{folder}/*.toml", f"{folder}/*.md", f"{folder}/recorded/*"])
    python_sources(
        name=folder,
        sources=[f"{folder}/solution.py", f"{folder}/wrong/*.py", f"{folder}/engine/**/*.py"],
        dependencies=[f":{folder}_texts"],
        # Pieces that are put into a solution have no types of their own.
        skip_mypy=True,
    )
    python_tests(
        name=f"{folder}_tests",
        sources=[f"{folder}/tests/test_*.py"],
        dependencies=[f":{folder}", *EXERCISE_NEEDS],
        batch_compatibility_tag="exercises",
        skip_mypy=True,
    )


def exercise_gates(*folders):
    """`:gates` of a module's exercises: solutions pass, starters and wrong solutions fail as they should.

    One process runs all of them, wave by wave.
    """
    python_tests(
        name="gates",
        sources=["test_gates.py"],
        dependencies=[
            *(f":{folder}" for folder in folders),
            *(f":{folder}_tests" for folder in folders),
            *EXERCISE_NEEDS,
        ],
        timeout=900,
        skip_mypy=True,
    )


EXERCISE_NEEDS = (
    "//courses:lib",
    "//courses:exercise",
    "//services/engine:lib",
    "//services/engine/results",
    "//models:checkpoints",
)
"""Looked for at run time: the engine is overlaid file by file, and pytest imports the tests by their paths."""
