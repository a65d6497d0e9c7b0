"""Checks that backups restore: the monitor's history and the gateway's service levels, copied while in use."""

from __future__ import annotations

import json

from llm_deploy.errors import DeployError
from llm_deploy.ready.check import Check, Finding, Subject, judged

BACKUP = """
import json, pathlib, sqlite3, sys, tempfile
found = {}
for path in sorted(pathlib.Path('/data').rglob('*')):
    if path.is_file() and path.open('rb').read(16) == b'SQLite format 3\\x00':
        with tempfile.TemporaryDirectory() as folder:
            source, copy = sqlite3.connect(f'file:{path}?mode=ro', uri=True), sqlite3.connect(f'{folder}/copy')
            source.backup(copy)
            tables = [row[0] for row in copy.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
            rows = sum(copy.execute(f'SELECT count(*) FROM "{table}"').fetchone()[0] for table in tables)
            found[str(path)] = [copy.execute('PRAGMA integrity_check').fetchone()[0], rows]
print(json.dumps(found))
"""
"""SQLite's online backup, as docs/operations/backup.md has it; the copy is opened and checked."""
PAGE = "docs/operations/backup.md"


def restores(subject: Subject) -> Finding:
    faults: list[str] = []
    observed: list[str] = []
    for role in ("monitor", "gateway"):
        if role not in subject.roles:
            continue
        try:
            found = json.loads(subject.deployment.run_in(role, "python", "-c", BACKUP))
        except DeployError as error:
            faults.append(f"{role}: {error}")
            continue
        for path, (state, rows) in found.items():
            (observed if state == "ok" and rows else faults).append(f"{role} {path}: {state}, {rows:,} rows")
        if not found:
            faults.append(f"{role} keeps nothing in /data: a restart forgets everything")
    return judged(faults, "; ".join(observed))


CHECKS = (
    Check(name="backups-restore", asserts="a backup of each database opens and is whole",
          how="SQLite's online backup inside, integrity_check of the copy", page=PAGE, run=restores),
)  # fmt: skip
