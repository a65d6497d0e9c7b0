"""The state that survives a restart: alerts and silences, in one small JSON file that is replaced as a whole."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import orjson

logger = logging.getLogger(__name__)

VERSION: Final = 1


class NewerState(ValueError):
    """The file comes from a newer version. It is left as it is."""


class StateFile:
    """A file of the data folder. A full disk stops the saving, is logged once, and nothing else."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._failing = False
        self._saved = b""

    def load(self) -> dict[str, Any]:
        """Return the state; an empty one if there is none or it cannot be read. Raises NewerState."""
        try:
            state = orjson.loads(self._path.read_bytes())
        except FileNotFoundError:
            return {}
        except (OSError, ValueError) as error:
            logger.warning("%s cannot be read, so alerts start anew: %s", self._path, error)
            return {}
        if not isinstance(state, dict):
            return {}
        if state.get("version", 0) > VERSION:
            raise NewerState(f"{self._path} has version {state['version']}; this program knows up to {VERSION}")
        return state

    def save(self, state: Mapping[str, Any]) -> None:
        """Replace the state if it changed."""
        content = orjson.dumps({"version": VERSION, **state})
        if content == self._saved:
            return
        temporary = self._path.with_suffix(".new")
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with temporary.open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(self._path)
        except OSError as error:
            if not self._failing:
                logger.error("%s cannot be written, so a restart forgets alerts and silences: %s", self._path, error)
            self._failing = True
            return
        self._saved, self._failing = content, False
