"""One configuration model per service, from one YAML file, environment variables and flags, in that order.

    class GatewaySettings(ServiceSettings, env_prefix="LLM_GATEWAY_"):
        port: int = Field(8080, description="…")

    settings = load(GatewaySettings, prog="llm-gateway", argv=sys.argv[1:])

`--config FILE` names the YAML file; `--print-config` shows the result and ends. A later source wins over an earlier
one, key by key. A second `--config` adds to the first in the same way, so secrets can have a file of their own. An
unknown key is an error in the file and on the command line.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import yaml
from pydantic import ValidationError
from pydantic_settings import BaseSettings, CliSettingsSource, SettingsConfigDict, SettingsError

EXIT_USAGE = 2


class ServiceSettings(BaseSettings):
    """Frozen; subclasses set `env_prefix` and their fields, each with a default or required."""

    model_config = SettingsConfigDict(
        frozen=True,
        extra="forbid",
        env_nested_delimiter="__",
        cli_kebab_case=True,
        cli_implicit_flags=True,
        cli_hide_none_type=True,
    )


S = TypeVar("S", bound=ServiceSettings)


class InvalidSettings(ValueError):
    """The message says where, and what is wrong."""


def load(model: type[S], *, prog: str, argv: Sequence[str], description: str = "") -> S:
    """Return the service's settings; end the program with one clear message and status 2 if they are wrong."""
    try:
        settings = read(model, prog=prog, argv=argv, description=description)
    except InvalidSettings as error:
        _fail(prog, str(error))
    if _split_own_flags(prog, argv)[1]:
        yaml.safe_dump(settings.model_dump(mode="json"), sys.stdout, sort_keys=False)
        raise SystemExit(0)
    return settings


def read(model: type[S], *, prog: str, argv: Sequence[str], description: str = "") -> S:
    """Return the settings, in a program that is already running. Raises InvalidSettings."""
    paths, _, rest = _split_own_flags(prog, argv)
    try:
        values: dict[str, Any] = {}
        for path in paths:
            values = _merged(values, _read_yaml(path))
        return _build(model, values, rest, prog=prog, description=description)
    except ValidationError as error:
        raise InvalidSettings("; ".join(_describe(problem) for problem in error.errors())) from None
    except (OSError, ValueError, yaml.YAMLError, SettingsError) as error:
        raise InvalidSettings(str(error)) from None


def config_paths(prog: str, argv: Sequence[str]) -> tuple[Path, ...]:
    """Return the files that `--config` names."""
    return _split_own_flags(prog, argv)[0]


def _split_own_flags(prog: str, argv: Sequence[str]) -> tuple[tuple[Path, ...], bool, list[str]]:
    parser = argparse.ArgumentParser(prog=prog, add_help=False, allow_abbrev=False)
    parser.add_argument("--config", type=Path, action="append", default=[])
    parser.add_argument("--print-config", action="store_true")
    own, rest = parser.parse_known_args(argv)
    return tuple(own.config), own.print_config, rest


def _read_yaml(path: Path) -> dict[str, Any]:
    values = yaml.safe_load(path.read_text(encoding="utf-8"))
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise ValueError(f"{path}: expected a mapping of settings, found a {type(values).__name__}")
    return values


def _merged(values: Mapping[str, Any], later: Mapping[str, Any]) -> dict[str, Any]:
    """Return both files' values; the later one wins. Mappings are merged, lists are replaced."""
    both = {
        key: _merged(values[key], later[key])
        for key in values.keys() & later.keys()
        if isinstance(values[key], dict) and isinstance(later[key], dict)
    }
    return {**values, **later, **both}


def _build(model: type[S], values: dict[str, Any], argv: list[str], *, prog: str, description: str) -> S:
    class Layered(model):  # type: ignore[valid-type,misc]
        @classmethod
        def settings_customise_sources(
            cls, settings_cls: Any, init_settings: Any, env_settings: Any, **_: Any
        ) -> tuple[Any, ...]:
            cli: CliSettingsSource[Any] = CliSettingsSource(settings_cls, cli_parse_args=argv, cli_prog_name=prog)
            return cli, env_settings, init_settings

    Layered.__name__ = model.__name__
    Layered.__doc__ = description or model.__doc__
    return Layered(**values)


def _describe(problem: Any) -> str:
    where = ".".join(str(part) for part in problem["loc"]) or "configuration"
    if problem["type"] == "extra_forbidden":
        return f"{where}: unknown setting"
    return f"{where}: {problem['msg'].removeprefix('Value error, ')}"


def _fail(prog: str, message: str) -> NoReturn:
    print(f"{prog}: {message}", file=sys.stderr)
    raise SystemExit(EXIT_USAGE)
