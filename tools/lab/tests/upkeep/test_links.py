from __future__ import annotations

from pathlib import Path

import pytest

from llm_lab.upkeep.links import anchors, broken_links


def write(folder: Path, text: str, name: str = "page.md") -> Path:
    page = folder / name
    page.write_text(text)
    return page


def test_links_to_files_that_are_not_there_are_found(tmp_path: Path) -> None:
    page = write(tmp_path, "[a](page.md) [c](gone.md#d) [e](https://x/gone#f) ![f](gone.svg) [i](./page.md)")
    assert broken_links([page]) == [f"{page}: gone.md#d", f"{page}: gone.svg"]


def test_links_to_headings_that_are_not_there_are_found(tmp_path: Path) -> None:
    other = write(tmp_path, "# Other\n", "other.md")
    page = write(tmp_path, "## Here\n[a](#here) [b](#gone) [c](other.md#other) [d](other.md#here) [e](code.py#L3)\n")
    write(tmp_path, "1\n2\n3\n", "code.py")
    assert broken_links([page, other]) == [f"{page}: #gone", f"{page}: other.md#here"]


@pytest.mark.parametrize(
    ("heading", "anchor"),
    [
        ("Which implementation runs", "which-implementation-runs"),
        ("On a CPU ##", "on-a-cpu"),
        ("What's `max_num_seqs`?", "whats-max_num_seqs"),
        ("TTFT, TPOT & ITL", "ttft-tpot--itl"),
        ("P99 — the tail", "p99--the-tail"),
        ("The [gateway](README.md) in *front*", "the-gateway-in-front"),
        ("Größe 2.5x", "größe-25x"),
    ],
)
def test_an_anchor_is_the_headings_slug(tmp_path: Path, heading: str, anchor: str) -> None:
    assert anchors(write(tmp_path, f"### {heading}\n")) == {anchor}


def test_a_repeated_heading_gets_a_number(tmp_path: Path) -> None:
    assert anchors(write(tmp_path, "# Limits\n# Limits\n# Limits\n")) == {"limits", "limits-1", "limits-2"}


def test_tags_can_set_an_anchor_and_code_has_neither_headings_nor_links(tmp_path: Path) -> None:
    page = write(tmp_path, '<a id="here"></a>\n```sh\n# a comment\necho [a](gone.md)\n```\n')
    assert anchors(page) == {"here"}
    assert broken_links([page]) == []
