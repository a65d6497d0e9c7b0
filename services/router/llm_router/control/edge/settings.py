"""The `args` of the edge's application."""

from __future__ import annotations

from typing import Self

from pydantic import Field, model_validator

from llm_router.edge.settings import EdgeSettings


class EdgeAppSettings(EdgeSettings):
    """The `args` of the application of `llm_router.control.applications:edge`."""

    edges: int = Field(1, ge=1, description="edges; those of one node share its ports")

    @model_validator(mode="after")
    def _two_ports(self) -> Self:
        if self.port and self.port == self.admin_port:
            raise ValueError(f"port and admin_port are both {self.port}; they must differ")
        return self
