"""Macros that every BUILD file can call."""


def project(package, *, command=None, data=(), test_dependencies=(), test_timeout=None, light_tests=False):
    """Make a project's targets: `:lib` (the import package), `:data` (its files), `:tests`, and `:<command>`, its PEX.

    package            import package, in the folder of the same name, next to BUILD
    command            name of the program, e.g. "llm-gateway" -> dist/llm-gateway.pex; None for a library
    data               globs of files that the package reads at run time
    test_dependencies  what tests need and Pants cannot infer: models, a server that they start
    light_tests        test files may share a process, a few to each: starting one takes longer than most of them
    """
    resources(name="data", sources=[f"{package}/py.typed", *data])
    python_sources(name="lib", sources=[f"{package}/**/*.py"], dependencies=[":data"])
    python_test_utils(name="test_utils", sources=["tests/**/conftest.py", "tests/support_*.py"], skip_mypy=True)
    python_tests(
        name="tests",
        sources=["tests/**/test_*.py"],
        dependencies=[":lib", *test_dependencies],
        timeout=test_timeout,
        batch_compatibility_tag=package if light_tests else None,
        skip_mypy=True,
    )
    if command:
        pex_binary(
            name=command,
            entry_point=f"{package}.__main__",
            output_path=f"{command}.pex",
            dependencies=[":lib"],
        )
