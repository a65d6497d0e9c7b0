"""The external_metrics section of the configuration."""

from __future__ import annotations

import re
from typing import Self

from pydantic import BaseModel, ConfigDict, Field, FilePath, model_validator

from llm_monitor.promql import parse

_NAME = re.compile(r"[a-z0-9]([a-z0-9_.-]*[a-z0-9])?")


class ExternalMetricsSettings(BaseModel):
    """The listener for the Kubernetes API server, and the metrics that autoscalers can ask for."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    host: str = Field("0.0.0.0", description="address to listen on; only holders of a client certificate get an answer")
    port: int = Field(6443, ge=0, le=65535, description="0 takes any free port")
    certificate: FilePath = Field(
        description="PEM file with the server's certificate; it is read again when it changes"
    )
    key: FilePath = Field(description="PEM file with its private key")
    client_ca: FilePath = Field(description="PEM file with the CA of the API server's proxy client certificate")
    client_names: list[str] = Field([], description="common names of that certificate; empty: any that the CA signed")
    namespaces: list[str] = Field(description='namespaces whose autoscalers get answers; ["*"]: all')
    metrics: dict[str, str] = Field(min_length=1, description="metric name -> PromQL")

    @model_validator(mode="after")
    def _valid(self) -> Self:
        for name, expression in self.metrics.items():
            if not _NAME.fullmatch(name):
                raise ValueError(f"{name!r} is no metric name; use lower-case letters, digits, _ . and -")
            parse(expression)  # raises InvalidExpression, a ValueError
        return self
