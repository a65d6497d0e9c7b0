"""Each convention finds what breaks it and leaves the rest in peace."""

import ast
from pathlib import PurePosixPath

import pytest
from conventions_lint.conventions import MOST_MODULES, Source, check, circles


def complaints(**files: str) -> list[str]:
    """The complaints about these files of a package; `__` in a name is a slash."""
    paths = {PurePosixPath("llm_example", *name.split("__")).with_suffix(".py"): text for name, text in files.items()}
    return [each.text for each in check([Source(path, text, ast.parse(text)) for path, text in paths.items()])]


@pytest.mark.parametrize("beginning", ["Of a request, the id.", "What a request costs.", "Whoever asks."])
@pytest.mark.parametrize("place", ['"""{}"""', 'def f():\n    """{}"""', 'class C:\n    x: int\n    """{}"""'])
def test_a_docstring_begins_with_its_subject_or_verb(place: str, beginning: str) -> None:
    (complaint,) = complaints(module=place.format(beginning))
    assert "begins with" in complaint


@pytest.mark.parametrize(
    "text", ['"""Return the id."""', '"""Often read."""', 'x = """Of no interest"""', 'f("""What""")']
)
def test_other_strings_may_begin_as_they_like(text: str) -> None:
    assert complaints(module=text) == []


def test_long_files_and_functions_are_named() -> None:
    statements = "    x = 1\n" * 46
    assert "400 are allowed" in complaints(module="x = 1\n" * 401)[0]
    assert "`f` has 46 lines" in complaints(module=f"def f():\n{statements}")[0]
    assert complaints(module=f'def f():\n    """{statements}"""\n{statements[:200]}') == []
    assert complaints(module=f"@triton.jit\ndef f():\n{statements}") == []


def test_from_the_fifth_parameter_on_they_have_names() -> None:
    assert "`f` takes 5" in complaints(module="def f(a, b, c, d, e): ...")[0]
    assert complaints(module="def f(a, b, *, c, d, e): ...") == []
    assert complaints(module="class C:\n    def f(self, a, b, c, d): ...") == []
    assert complaints(tests__test_f="def f(a, b, c, d, e): ...") == []
    assert complaints(module="def f(a, b, c, d, e):  # signature: given by Jinja\n    ...") == []


def test_a_large_dataclass_takes_its_fields_by_name() -> None:
    fields = "".join(f"    x{index}: int\n" for index in range(9))
    assert "`C` takes 9 fields" in complaints(module=f"@dataclass(frozen=True)\nclass C:\n{fields}")[0]
    assert complaints(module=f"@dataclass(kw_only=True)\nclass C:\n{fields}") == []
    assert complaints(module=f"@dataclass\nclass C:\n    a: int\n    _: KW_ONLY\n{fields}") == []
    assert complaints(module=f"class C:\n{fields}") == []


def test_a_folder_of_many_modules_is_named() -> None:
    assert complaints(**{f"m{index}": "" for index in range(MOST_MODULES)}) == []
    assert "modules" in complaints(**{f"m{index}": "" for index in range(MOST_MODULES + 1)})[0]
    assert complaints(**{f"tests__test_{index}": "" for index in range(50)}) == []


@pytest.mark.parametrize(
    "importing",
    [
        "from llm_example.a import A",
        "from llm_example import a",
        "import llm_example.a",
        "if TYPE_CHECKING:\n    from llm_example.a import A",
        "def f():\n    from llm_example.a import A",
    ],
)
def test_a_circle_of_imports_is_named_however_it_is_closed(importing: str) -> None:
    (complaint,) = complaints(a="from llm_example.b import B", b=importing, c="from llm_example.a import A")
    assert complaint.endswith("in a circle: llm_example.a, llm_example.b")


def test_imports_one_way_are_no_circle() -> None:
    assert complaints(a="from llm_example.b import B", b="from llm_example.c import C", c="import os") == []


def test_circles_are_the_strongly_connected_components() -> None:
    graph = {"a": {"b"}, "b": {"c"}, "c": {"a", "d"}, "d": {"e"}, "e": {"d"}, "f": {"a"}}
    assert sorted(circles(graph)) == [["a", "b", "c"], ["d", "e"]]
