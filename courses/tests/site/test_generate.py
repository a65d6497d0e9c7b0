"""Generated pages: syllabus, map in both directions, tasks, READMEs, code, and the navigation over all of them."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from llm_course.site.generate import generate


@pytest.fixture
def generated(root: Path) -> Path:
    generate(root)
    return root / "docs" / "generated"


def test_nothing_changes_the_second_time_and_what_is_stale_goes(root: Path, generated: Path) -> None:
    assert generate(root) == 0
    (generated / "old.md").write_text("# Old\n")
    (root / "docs" / "glossary.md").write_text("# Glossary\n\nsee [the engine](../services/engine)\n")
    assert generate(root) == 1
    assert not (generated / "old.md").exists()


def test_the_syllabus_has_every_number(generated: Path) -> None:
    text = (generated / "syllabus.md").read_text()
    for number in ("T1.15", "T2.15", "T3.15", "T4.14", "T5.13", "T6.14", "T8.14"):
        assert f"| {number} |" in text
    for number in ("1.5", "2.7", "3.8", "4.7", "5.7", "6.7", "8.7"):
        assert f"| {number} |" in text
    assert "#### Project 7.7: Production Deployment" in text
    assert "#### Category 4: Distributed Systems (12)" in text
    assert text.count("Pass mark of its quiz:") == 7


def test_the_map_leads_both_ways(generated: Path) -> None:
    forward, backward = (generated / "map.md").read_text().split("## From files to topics")
    pool = "[`services/engine/pool.py`](repository/services/engine/pool.py.md)"
    page = "[Why blocks](../modules/02-core-concepts/why-blocks.md)"
    assert "T2.3 Block tables and address translation" in forward
    assert pool in forward
    assert f"| {pool} | {page} | T2.2, T2.3 |" in backward


def test_a_task_is_a_page_under_the_outlines_number(generated: Path) -> None:
    text = (generated / "exercises" / "2.3.md").read_text()
    assert text.startswith('---\ntitle: "2.3 Implement a simple block manager simulator in Python"\n---\n')
    assert "[pool](../repository/services/engine/pool.py.md)" in text
    assert (
        "[Implement a simple block manager simulator in Python](exercises/2.3.md)"
        in (generated / "exercises.md").read_text()
    )


def test_a_readme_keeps_its_links_working(generated: Path) -> None:
    copies = generated / "repository"
    assert (
        copies / "README.md"
    ).read_text() == "# Everything\n\n[engine](services/engine/README.md) and ![loss](models/loss.svg)\n"
    assert (
        "[pool](pool.py.md), [root](../../README.md#everything)" in (copies / "services/engine/README.md").read_text()
    )
    assert (copies / "models/loss.svg").read_text() == "<svg/>"


def test_a_file_is_shown_with_an_anchor_for_each_line(generated: Path) -> None:
    text = (generated / "repository/services/engine/pool.py.md").read_text()
    assert 'id="L-7"' in text
    assert "on [Why blocks](../../../../modules/02-core-concepts/why-blocks.md)" in text
    assert "exclude: true" in text


def test_a_folder_lists_its_files_but_not_the_hidden_ones(generated: Path) -> None:
    listing = (generated / "repository/services/engine/kernels/index.md").read_text()
    assert "[load.cu](load.cu.md)" in listing
    assert ".clang-format" not in listing


def test_the_navigation_has_every_page_once(root: Path, generated: Path) -> None:
    tree = yaml.safe_load((generated / ".navigation.yml").read_text())["nav"]
    assert [title for entry in tree for title in entry] == ["Home", "Course", "Modules", "Systems", "Reference"]
    found = list(leaves(tree))
    assert len(set(found)) == len(found)
    written = {file.relative_to(root / "docs").as_posix() for file in (root / "docs").rglob("*.md")}
    elsewhere = {"modules/index.md", "generated/repository/services/engine/kernels/index.md"}
    assert {page for page in written if not page.endswith((".py.md", ".cu.md"))} <= {*found, *elsewhere}
    assert {
        "2 Core Concepts": [
            "modules/02-core-concepts/index.md",
            {"Why blocks": "modules/02-core-concepts/why-blocks.md"},
            {"Exercises": [{"2.3": "generated/exercises/2.3.md"}]},
        ]
    } in tree[2]["Modules"]


def leaves(tree: object) -> list[str]:
    if isinstance(tree, str):
        return [tree]
    parts = tree.values() if isinstance(tree, dict) else tree
    assert isinstance(parts, list) or not isinstance(tree, list)
    return [leaf for part in parts for leaf in leaves(part)]  # type: ignore[union-attr]
