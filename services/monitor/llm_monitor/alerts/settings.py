"""The alerts' section of the configuration: service level objectives, rule files, receivers."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from llm_contract.metrics import INTER_TOKEN_BUCKETS, TTFT_BUCKETS


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


def _bucket(value: float, buckets: tuple[float, ...]) -> float:
    if value not in buckets:
        bounds = ", ".join(f"{bound:g}" for bound in buckets)
        raise ValueError(f"{value:g} is no bucket of the histogram, so misses cannot be counted; take one of {bounds}")
    return value


class SloSettings(_Section):
    """Promises to users. The rules' `${slo.…}` are its `values`."""

    ttft_seconds: float = Field(2.5, description="time to first token; a bucket of vLLM's histogram")
    tpot_seconds: float = Field(0.1, description="mean time per output token; a bucket of vLLM's histogram")
    objective: float = Field(
        0.99,
        gt=0.93,
        lt=1,
        description="share of requests that shall meet each of the two; the fast burn rate needs > 0.93",
    )

    @field_validator("ttft_seconds")
    @classmethod
    def _ttft(cls, value: float) -> float:
        return _bucket(value, TTFT_BUCKETS)

    @field_validator("tpot_seconds")
    @classmethod
    def _tpot(cls, value: float) -> float:
        return _bucket(value, INTER_TOKEN_BUCKETS)

    def burn(self, rate: float) -> float:
        """Return the ratio of misses at which the error budget burns at a multiple of the sustainable rate."""
        return round(rate * (1 - self.objective), 9)

    def values(self) -> dict[str, str]:
        """Return what `${slo.NAME}` stands for in a rule file, by NAME."""
        burns = {f"burn_{rate:g}".replace(".", "_"): f"{self.burn(rate):g}" for rate in (14.4, 6, 1)}
        return {
            "ttft_seconds": f"{self.ttft_seconds:g}",
            "ttft_le": _le(self.ttft_seconds),
            "tpot_seconds": f"{self.tpot_seconds:g}",
            "tpot_le": _le(self.tpot_seconds),
            "objective": f"{self.objective:g}",
            **burns,
        }


def _le(bound: float) -> str:
    """Return a regular expression for a bucket's label: clients write 1.0 or 1, Prometheus 3 writes 1.0."""
    return f"{bound:g}".replace(".", "[.]") if bound % 1 else f"{bound:g}([.]0)?"


class WebhookSettings(_Section):
    """A POST of JSON to any address, in the format of Alertmanager's webhook, version 4."""

    type: Literal["webhook"]
    url_file: Path = Field(description="file that holds the URL, as it can be a secret")


class SlackSettings(_Section):
    """A message to Slack, or to what takes its incoming webhooks (Mattermost, Rocket.Chat)."""

    type: Literal["slack"]
    url_file: Path = Field(description="file that holds the incoming webhook's URL")


class EmailSettings(_Section):
    type: Literal["email"]
    host: str = Field(description="SMTP server")
    port: int = Field(587, ge=1, le=65535)
    sender: str
    to: list[str] = Field(min_length=1)
    starttls: bool = True
    username: str = ""
    password_file: Path | None = None


class AlertmanagerSettings(_Section):
    """An Alertmanager, which groups, silences and routes by itself: it gets every alert, again and again."""

    type: Literal["alertmanager"]
    url: str


ReceiverSettings = Annotated[
    WebhookSettings | SlackSettings | EmailSettings | AlertmanagerSettings, Field(discriminator="type")
]


class AlertSettings(_Section):
    """Rules, and who is notified."""

    rules: list[Path] = Field(default_factory=list, description="further files of rules, after the built-in ones")
    builtin: bool = Field(True, description="evaluate the built-in rules")
    slo: SloSettings = SloSettings()
    receivers: list[ReceiverSettings] = Field(default_factory=list)
    group_by: list[str] = Field(["alertname", "job"], description="labels whose alerts are one notification")
    group_wait: float = Field(5, ge=0, description="seconds that a new group waits for further alerts")
    group_interval: float = Field(30, ge=0, description="seconds between notifications of a group that changed")
    repeat_interval: float = Field(4 * 3600, gt=0, description="seconds until a group that still fires is sent again")
    runbooks: str = Field("", description="address of a runbook, with {name} in it; empty: its path in docs/ is shown")
    external_url: str = Field("", description="address of the dashboard for links in notifications")

    @field_validator("runbooks")
    @classmethod
    def _with_a_name(cls, value: str) -> str:
        if value and ("{name}" not in value or "://" not in value):
            raise ValueError(
                f"{value} is no URL with {{name}} in it, as in http://127.0.0.1:8001/runbooks/{{name}}.html"
            )
        return value
