"""Command lines, for `python`, of the servers that the benchmarks here start."""

from __future__ import annotations

from pathlib import Path

HERE = Path(__file__).resolve().parent


def script(name: str, *arguments: str) -> tuple[str, ...]:
    """Return the command line of a program in this folder."""
    return (str(HERE / name), *arguments)


def bare_engine(*arguments: str) -> tuple[str, ...]:
    return script("bare_engine.py", *arguments)


def gateway(engine_url: str, *arguments: str) -> tuple[str, ...]:
    return ("-m", "llm_gateway", "--engines", engine_url, "--port", "0", *arguments)
