"""The monitor's configuration: the sections of collector, history, alerts and web, and where it listens."""

from __future__ import annotations

from pathlib import Path
from typing import Self

from pydantic import Field, model_validator

from llm_contract.logs import LOG_FORMAT_HELP, LogFormat
from llm_contract.settings import ServiceSettings
from llm_monitor.alerts.settings import AlertSettings
from llm_monitor.collect.settings import CollectSettings
from llm_monitor.external.settings import ExternalMetricsSettings
from llm_monitor.history.settings import HistorySettings
from llm_monitor.web.security import is_loopback
from llm_monitor.web.settings import WebSettings


class MonitorSettings(ServiceSettings, env_prefix="LLM_MONITOR_"):
    """Flags and environment variables name a section's key with a dot or two underscores: --web.keys, …WEB__KEYS."""

    host: str = Field("127.0.0.1", description="address to listen on; any but loopback needs web.keys")
    port: int = Field(9600, ge=0, le=65535, description="0 takes any free port")
    data: Path | None = Field(None, description="folder for the history, alerts' states and annotations; none: memory")
    prometheus: str = Field("", description="URL of a Prometheus that answers for ranges before the memory's")
    collect: CollectSettings = CollectSettings()
    history: HistorySettings = HistorySettings()
    alerts: AlertSettings = AlertSettings()
    web: WebSettings = WebSettings()
    log_format: LogFormat = Field("text", description=LOG_FORMAT_HELP)
    external_metrics: ExternalMetricsSettings | None = Field(
        None, description="serve Kubernetes's external metrics API, for autoscalers"
    )

    @model_validator(mode="after")
    def _guarded(self) -> Self:
        if not is_loopback(self.host) and not self.web.keys:
            raise ValueError(
                f"host {self.host} is open to others, so web.keys must name a key; "
                "`python -m llm_monitor.web.keys` makes one"
            )
        return self

    @property
    def history_file(self) -> Path | None:
        if self.history.file is None and self.data is not None:
            return self.data / "history.db"
        return self.history.file
