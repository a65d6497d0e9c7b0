"""The command line: `llm-engine serve MODEL [flags]`, flags with vLLM's names.

Settings come from a YAML file (`--config`), the environment (LLM_ENGINE_…) and flags; a later source wins. `settings`
defines them.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence
from dataclasses import MISSING, fields
from typing import Any, Self, TypeVar, get_type_hints

from pydantic import Field, SecretStr, create_model, model_validator

from llm_contract import logs
from llm_contract.settings import ServiceSettings, load
from llm_engine.errors import EngineError
from llm_engine.settings import EngineConfig, ServerConfig
from llm_engine.version import __version__

PROG = "llm-engine"
USAGE = f"""usage: {PROG} serve MODEL [flags]     serve a model over HTTP; `{PROG} serve --help` lists the flags
       {PROG} --version"""

Config = TypeVar("Config", EngineConfig, ServerConfig)


class ServeFlags(ServiceSettings, env_prefix="LLM_ENGINE_"):
    """Serve a model over OpenAI's HTTP API."""

    def part(self, config: type[Config]) -> Config:
        """Return the settings that `config` defines. EngineError if they are wrong."""
        values = {each.name: getattr(self, each.name) for each in fields(config)}
        return config(**{name: _revealed(value) for name, value in values.items()})

    @model_validator(mode="after")
    def _check(self) -> Self:
        try:
            self.part(EngineConfig)
            self.part(ServerConfig)
        except EngineError as error:
            raise ValueError(str(error)) from None
        return self


def _revealed(value: Any) -> Any:
    return value.get_secret_value() if isinstance(value, SecretStr) else value


def _flags() -> dict[str, Any]:
    """Derive a flag from each setting: pydantic's (type, Field)."""
    flags: dict[str, Any] = {}
    for config in (EngineConfig, ServerConfig):
        types = get_type_hints(config)
        for each in fields(config):
            kind = SecretStr | None if each.metadata.get("secret") else types[each.name]
            default = ... if each.default is MISSING else each.default
            flags[each.name] = (kind, Field(default, description=each.metadata["description"]))
    return flags


ServeSettings = create_model("ServeSettings", __base__=ServeFlags, __doc__=ServeFlags.__doc__, **_flags())


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command and return its exit status.

    0: it ended well; 1: the model cannot be served, or the engine died; 2: the command or a setting is wrong.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    command = arguments.pop(0) if arguments else "--help"
    if command in ("-h", "--help"):
        print(USAGE)
        return 0
    if command == "--version":
        print(__version__)
        return 0
    if command != "serve":
        print(f"{PROG}: unknown command {command!r}\n{USAGE}", file=sys.stderr)
        return 2
    settings = load(ServeSettings, prog=f"{PROG} serve", argv=_name_positional(arguments))
    config, server = settings.part(EngineConfig), settings.part(ServerConfig)
    logs.configure(PROG, server.log_format, logging.WARNING)
    try:
        return _serve(config, server)
    except Exception as error:
        if server.debug:
            raise
        expected = isinstance(error, EngineError)
        message = str(error) if expected else f"{type(error).__name__}: {error} (--debug shows where)"
        print(f"{PROG}: {' '.join(message.split())}", file=sys.stderr)
        return 1


def _name_positional(arguments: list[str]) -> list[str]:
    """Read `serve MODEL …` as `serve --model MODEL …`."""
    if arguments and not arguments[0].startswith("-"):
        return ["--model", *arguments]
    return arguments


def _serve(config: EngineConfig, server: ServerConfig) -> int:
    # Imported here because torch takes a second to import, and a wrong flag should fail at once.
    from llm_engine.engine import Engine
    from llm_engine.metrics import EngineMetrics
    from llm_engine.observers.progress import ProgressObserver
    from llm_engine.server.app import build_app
    from llm_engine.server.serve import serve

    name = server.served_model_name or config.model
    metrics = EngineMetrics(name)
    traced = () if server.otlp_traces_endpoint is None else (ProgressObserver(),)
    app = build_app(Engine(config, [metrics, *traced]), metrics, name, server)
    app.state.intake.start()
    return serve(app, server.host, server.port, server.shutdown_timeout, banner=f"{PROG}: serving {name}")
