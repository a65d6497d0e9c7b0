"""The images: their packages of ours, and how large each may become."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from llm_deploy.errors import UsageError
from llm_deploy.paths import DEPLOY

DOCKERFILE = DEPLOY / "images" / "Dockerfile"
LOCKS = DEPLOY / "images" / "locks"


@dataclass(frozen=True, slots=True)
class Image:
    """A target of the Dockerfile."""

    name: str
    packages: tuple[str, ...]
    """Import packages of ours that it holds."""
    max_megabytes: int
    """Bound that a test holds, on the stand-in base."""
    without: tuple[str, ...] = ()
    """Parts of the packages that never run here, so that the lock leaves out what they import."""

    @property
    def lock(self) -> Path | None:
        path = LOCKS / f"{self.name}.txt"
        return path if self.packages != ("llm_contract",) else None


_ENGINE = ("llm_contract", "llm_kernels", "llm_proxy", "llm_report", "llm_engine")
# Triton's kernels need a GPU; the others tune them, compile them ahead, and compare their stages.
_NO_GPU = ("llm_kernels.triton_kernels", "llm_kernels.aot", "llm_kernels.ladders", "llm_kernels.tuning")
IMAGES = {
    image.name: image
    for image in (
        Image("engine", _ENGINE, 950, without=_NO_GPU),
        Image("gateway", ("llm_contract", "llm_proxy", "llm_report", "llm_traces", "llm_gateway"), 260),
        Image(
            "router", ("llm_contract", "llm_proxy", "llm_report", "llm_router"), 260, without=("llm_router.control",)
        ),
        Image("router-ray", (*_ENGINE, "llm_router"), 1400, without=_NO_GPU),
        Image("monitor", ("llm_contract", "llm_report", "llm_monitor"), 330),
        Image("bench", ("llm_contract", "llm_measure", "llm_report", "llm_traces", "llm_bench"), 330),
        Image(
            "quantize",
            ("llm_contract", "llm_kernels", "llm_measure", "llm_report", "llm_quantize"),
            1060,
            without=_NO_GPU,
        ),
        Image("docs", ("llm_contract",), 200),
    )
}
"""All that ./lab images builds here; engine-gpu, the one more target, needs several GB of CUDA wheels."""


def find(names: list[str]) -> list[Image]:
    """Return the images of these names, all of them without any. UsageError for an unknown one."""
    if unknown := [name for name in names if name not in IMAGES]:
        raise UsageError(f"there is no image {unknown[0]!r}: use {', '.join(IMAGES)}")
    return [IMAGES[name] for name in names or IMAGES]


def tag(name: str) -> str:
    """Return the name that Docker knows an image by; LLM_LAB_REGISTRY and LLM_LAB_VERSION change it."""
    return f"{os.environ.get('LLM_LAB_REGISTRY') or 'llm-lab'}/{name}:{version()}"


def version() -> str:
    """Return the images' version. An empty variable counts as none, as it does for Compose."""
    return os.environ.get("LLM_LAB_VERSION") or "dev"
