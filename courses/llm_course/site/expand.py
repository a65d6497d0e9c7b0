"""The pages' own notation, replaced by what it stands for before Markdown reads the page.

    ```python
    --source-- "services/engine/llm_engine/kv_cache/block_pool.py::BlockPool.allocate"
    ```                                                     code, by symbol or by named region, and a link to its file

    {{ services/engine/results/leaks.json :: requests | count }}     a figure of a results file
    {{ vllm vllm/v1/core/block_pool.py :: BlockPool }}               a claim about vLLM; {{ vllm version }}
    {{ module 2 :: topics }}                                         a part of the syllabus, on a line of its own
    {{ modules }}                                                    the nine modules as tiles
    [a file](../../services/engine/llm_engine/engine.py#Engine)      a file of the repository, at a symbol if wanted

In code, inline or fenced, all but a lone `--source--` stays as it is. A name that cannot be found is an ExpansionError,
which fails the build.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from llm_course.errors import CourseError
from llm_course.prose import claims, figures
from llm_course.site import parts
from llm_course.site.lines import Fence, outside_code, split
from llm_course.site.repository import COPIES, LINK, links, relative, shown_at
from llm_report.snippets import SnippetError, cut, fenced

SOURCE = re.compile(r'\s*--source-- "(?P<name>[^"]+)"\s*')
BRACES = re.compile(r"\{\{\s*(?P<inner>.*?)\s*\}\}")
PART = re.compile(r"module (?P<number>\d+)\s*::\s*(?P<part>\w+)")


class ExpansionError(CourseError):
    """Something on a page that stands for nothing; the message names page and notation."""


def expand(root: Path, page: str, lines: Sequence[str]) -> list[str]:
    """Return the page's lines with every notation replaced; `page` is relative to docs/. Copies stay as they are."""
    if page.startswith(f"{COPIES}/"):
        return list(lines)
    done: list[str] = []
    for piece in split(lines):
        try:
            if isinstance(piece, Fence):
                done += _code(root, page, piece)
            else:
                done += _line(root, page, piece.line)
        except (CourseError, SnippetError) as error:
            raise ExpansionError(f"docs/{page}: {error}") from None
    return done


def rebase(root: Path, text: str, *, folder: str, page: str) -> str:
    """Return a page of `folder` (below root) with its links made to work from `page` (below docs/)."""
    done: list[str] = []
    for piece in split(text.split("\n")):
        if isinstance(piece, Fence):
            done += piece.lines()
        else:
            done.append(outside_code(piece.line, lambda part: _relinked(root, part, folder, page)))
    return "\n".join(done)


def _line(root: Path, page: str, line: str) -> list[str]:
    whole = BRACES.fullmatch(line.strip())
    if whole and whole["inner"] == "modules":
        return parts.tiles(root, page=page).split("\n")
    if whole and (part := PART.fullmatch(whole["inner"])):
        return [*parts.part(root, int(part["number"]), part["part"], page=page).split("\n")]
    changed = outside_code(line, lambda text: BRACES.sub(lambda found: _value(root, found["inner"]), text))
    if not page.startswith("generated/"):
        folder = str(Path("docs", page).parent)
        changed = outside_code(changed, lambda text: _relinked(root, text, folder, page))
    return [changed]


def _value(root: Path, inner: str) -> str:
    if inner == "vllm version":
        return claims.version(root)
    if inner.startswith("vllm "):
        return claims.parse(inner).text()
    if figures.FORM.fullmatch(inner) is None:
        raise ExpansionError(f"{{{{ {inner} }}}} is no figure, no claim about vLLM and no part of the syllabus")
    return figures.written(inner, root)


def _code(root: Path, page: str, piece: Fence) -> list[str]:
    sources = [SOURCE.fullmatch(line) for line in piece.body]
    if not any(sources):
        return list(piece.lines())
    if len(sources) != 1 or sources[0] is None:
        raise ExpansionError("--source-- stands alone in its block")
    snippet = cut(root, sources[0]["name"])
    symbol = sources[0]["name"].partition("::")[2]
    target = f"{relative(page, shown_at(root, snippet.path))}#L-{snippet.first}"
    title = f"[`{snippet.path}` <span>{symbol}</span>]({target}){{ .source-link }}"
    opening, *body = fenced(snippet).rstrip("\n").split("\n")
    if piece.info.strip():
        opening = opening.removesuffix(snippet.language) + piece.info
    return [(piece.indent + line).rstrip() for line in (title, "", opening, *body)]


def _relinked(root: Path, text: str, folder: str, page: str) -> str:
    targets = {link.target: link for link in links(text, folder)}

    def renew(found: re.Match[str]) -> str:
        link = targets.get(found["target"])
        if link is None or (folder.startswith("docs") and link.path.startswith("docs/")):
            return found[0]
        if folder.startswith("docs") and link.path.endswith(".md"):
            raise ExpansionError(
                f"{link.target}: a README is linked by its folder; zensical looks for pages in docs/ alone"
            )
        return relative(page, shown_at(root, link.path)) + _anchor(root, link.path, link.anchor)

    return LINK.sub(renew, text)


def _anchor(root: Path, path: str, anchor: str) -> str:
    """Return an anchor of the page that shows `path`: a symbol becomes its line."""
    if not anchor or path.endswith(".md") or path.startswith("docs/"):
        return anchor
    return f"#L-{cut(root, f'{path}::{anchor[1:]}').first}"
