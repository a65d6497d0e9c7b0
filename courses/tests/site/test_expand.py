"""The pages' own notation: what it becomes, what stays as it is, and what fails the build."""

from __future__ import annotations

from pathlib import Path

import markdown
import pytest

from llm_course.site.expand import ExpansionError, expand, rebase

PAGE = "modules/02-core-concepts/why-blocks.md"
FIGURE = "{{ services/engine/results/x.json :: paged.tokens / static.tokens | .2f }}"
COPY = "../../generated/repository/services/engine"


def expanded(root: Path, text: str, page: str = PAGE) -> str:
    return "\n".join(expand(root, page, text.split("\n")))


def test_code_comes_from_its_source_with_a_link_to_its_line(root: Path) -> None:
    text = expanded(root, 'a\n\n```python\n--source-- "services/engine/pool.py::Pool.take"\n```\nb')
    assert text == (
        f"a\n\n[`services/engine/pool.py` <span>Pool.take</span>]({COPY}/pool.py.md#L-7){{ .source-link }}\n\n"
        '```python\ndef take(self) -> int:\n    """Return a block."""\n    return self.free.pop()\n```\nb'
    )


def test_code_keeps_the_indentation_of_a_tab_and_what_the_fence_says(root: Path) -> None:
    text = expanded(
        root, '=== "Laptop"\n\n    ```cpp hl_lines="1"\n    --source-- "services/engine/kernels/load.cu::load"\n    ```'
    )
    assert text.endswith('\n\n    ```cpp hl_lines="1"\n    auto x = a[i](b);\n    ```')


def test_figures_and_claims_stand_in_lines_and_tables(root: Path) -> None:
    assert expanded(root, f"| {FIGURE}× | {{{{ vllm vllm/x.py :: Pool }}}} |") == "| 1.88× | `Pool` (`vllm/x.py`) |"
    assert expanded(root, "vLLM {{ vllm version }}") == "vLLM 0.32.0"
    assert expanded(root, f'<course-prediction answer="{FIGURE}">') == '<course-prediction answer="1.88">'


@pytest.mark.parametrize(
    "text", [f"`{FIGURE}`", f"```\n{FIGURE}\n[a](gone.py)\n```", "``a ` {{ x }}``", "[a](https://x/y) [b](#c)"]
)
def test_code_and_links_elsewhere_stay_as_they_are(root: Path, text: str) -> None:
    assert expanded(root, text) == text


def test_links_into_the_repository_lead_to_its_copies(root: Path) -> None:
    up = "../../../"
    assert expanded(root, f"[a]({up}services/engine/pool.py)") == f"[a]({COPY}/pool.py.md)"
    assert expanded(root, f"[`a`]({up}services/engine/pool.py#Pool)") == f"[`a`]({COPY}/pool.py.md#L-4)"
    assert expanded(root, f"[a]({up}services/engine)") == f"[a]({COPY}/README.md)"
    assert expanded(root, "[a](../../glossary.md#x)") == "[a](../../glossary.md#x)"


def test_parts_of_the_syllabus_are_blocks(root: Path) -> None:
    topics = expanded(root, "{{ module 2 :: topics }}")
    assert "| T2.2 | PagedAttention: virtual and physical blocks | [Why blocks](why-blocks.md) |" in topics
    assert "| T2.1 | Memory bottlenecks and inefficiencies of traditional attention | *being written* |" in topics
    assert "[2 Core Concepts](../02-core-concepts/index.md)" not in topics
    assert "**[2 Core Concepts](modules/02-core-concepts/index.md)** 20–25 h" in expanded(
        root, "{{ modules }}", "index.md"
    )


def test_a_copy_stays_as_it_is(root: Path) -> None:
    assert expanded(root, "{{ x }}", "generated/repository/a.py.md") == "{{ x }}"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('```python\n--source-- "services/engine/pool.py::Pool.put"\n```', "has no 'Pool.put'"),
        ('```python\nx = 1\n--source-- "services/engine/pool.py::Pool"\n```', "stands alone"),
        ("{{ services/engine/results/x.json :: gone }}", "no 'gone'"),
        ("{{ gone }}", "{{ gone }} is no figure"),
        ("{{ vllm x :: y }}", "no claim about vLLM"),
        ("{{ module 12 :: topics }}", "no module 12"),
        ("{{ module 2 :: topisc }}", "no part 'topisc'"),
        ("[a](../../../services/engine/gone.py)", "no such file"),
        ("[a](../../../services/engine/pool.py#Gone)", "has no 'Gone'"),
        ("[a](../../../services/engine/README.md)", "linked by its folder"),
    ],
)
def test_what_stands_for_nothing_names_page_and_notation(root: Path, text: str, message: str) -> None:
    with pytest.raises(ExpansionError, match=f"docs/{PAGE}: .*{message}".replace("{", r"\{").replace(".md", r"\.md")):
        expanded(root, text)


def test_a_page_moved_elsewhere_keeps_its_links_working(root: Path) -> None:
    text = "[a](pool.py) `[b](gone.py)` ![c](../../models/loss.svg)\n```\nx[i](j)\n```"
    moved = rebase(root, text, folder="services/engine", page="generated/exercises/2.3.md")
    first = "[a](../repository/services/engine/pool.py.md) `[b](gone.py)` ![c](../repository/models/loss.svg)"
    assert moved == f"{first}\n```\nx[i](j)\n```"


def test_markdown_sees_the_expanded_page(monkeypatch: pytest.MonkeyPatch, root: Path) -> None:
    monkeypatch.setattr("llm_course.site.extension.ROOT", root)
    html = markdown.markdown(f"It is **{FIGURE}**.", extensions=["llm_course.site.extension"])
    assert html == "<p>It is <strong>1.88</strong>.</p>"
    with pytest.raises(ExpansionError):
        markdown.markdown("{{ gone }}", extensions=["llm_course.site.extension"])
