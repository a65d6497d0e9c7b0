"""Every image as deployments run it: without root and on a read-only root, and it ends when asked to."""

from __future__ import annotations

import json
import subprocess
import time
from typing import Any

import pytest
from deploy.support_docker import HARDENED, container, docker, need
from support import eventually

from llm_deploy.images import build
from llm_deploy.images.catalog import DOCKERFILE, IMAGES, Image, tag
from llm_deploy.kubernetes.render import tool

SERVERS = {
    "engine": ("http://127.0.0.1:8000/ready", ()),
    "gateway": ("http://127.0.0.1:8080/health", ("--engines", "http://127.0.0.1:9")),
    "router-ray": ("http://127.0.0.1:8000/ready", ("serve", "/models/main")),
    "router": ("http://127.0.0.1:8000/health", ("edge", "--engine", "http://127.0.0.1:9")),
    "monitor": ("http://127.0.0.1:9600/ready", ("serve",)),
    "bench": ("http://127.0.0.1:8089/", ("--host", "http://127.0.0.1:9")),
    "docs": ("http://127.0.0.1:8001/", ()),
}
"""URL inside the container that answers 200, and the arguments. Nothing listens on port 9."""
JOBS = {"quantize": ("--help",)}
START_SECONDS = 120.0
STOP_SECONDS = 10
RAY_STOPS_SECONDS = 60
"""Ray ends its processes one after the other."""
LOOK = """
import glob, importlib.util, json, os, shutil, sys
tools = ("pip", "pip3", "uv", "gcc", "cc", "g++", "c++", "make", "git", "curl")
print(json.dumps({
    "ids": [os.getuid(), os.getgid()],
    "pip": bool(importlib.util.find_spec("pip")) or bool(glob.glob("/opt/app/lib/*/site-packages/pip")),
    "tools": [name for name in tools if shutil.which(name)],
    "tests": glob.glob("/app/**/tests", recursive=True),
    "writable": [path for path in ("/", "/app", "/opt/app", "/etc") if os.access(path, os.W_OK)],
    "version": list(sys.version_info[:2]),
}))
"""


@pytest.fixture(params=IMAGES.values(), ids=lambda image: image.name)
def image(request: pytest.FixtureRequest) -> Image:
    """Each image of the catalogue that is built."""
    found: Image = request.param
    need(found.name)
    return found


def configuration(image: Image) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(docker("image", "inspect", tag(image.name)))[0]["Config"]
    return found


def test_every_image_is_started_here() -> None:
    assert {*SERVERS, *JOBS} == set(IMAGES)


def test_it_is_not_larger_than_its_bound(image: Image) -> None:
    size = int(docker("image", "inspect", "--format", "{{.Size}}", tag(image.name))) / 1e6
    assert size <= image.max_megabytes


def test_it_runs_as_10001_and_its_labels_name_its_commit(image: Image) -> None:
    found = configuration(image)
    assert found["User"] == "10001:10001"
    labels = found["Labels"]
    assert labels["org.opencontainers.image.title"] == image.name
    assert build.labels().keys() <= labels.keys()
    revision = labels["org.opencontainers.image.revision"].removesuffix("-modified")
    assert len(revision) == 40
    assert int(revision, 16)


def test_its_health_check_needs_no_shell(image: Image) -> None:
    test = configuration(image)["Healthcheck"]["Test"]
    if image.name == "quantize":  # a job has nothing to probe
        assert test == ["NONE"]
    else:
        assert test[:4] == ["CMD", "python", "-m", "llm_contract.probe"]


def test_it_holds_no_pip_no_compiler_and_no_tests(image: Image) -> None:
    run = ("run", "--rm", "--network", "none", *HARDENED, "--entrypoint", "python", tag(image.name), "-c", LOOK)
    found = json.loads(docker(*run))
    assert found == {
        "ids": [10001, 10001],
        "pip": False,
        "tools": [],
        "tests": [],
        "writable": [],
        "version": [3, 11],
    }


@pytest.mark.parametrize("name", SERVERS)
def test_a_server_starts_and_ends_with_0_soon_after_sigterm(name: str) -> None:
    need(name)
    url, arguments = SERVERS[name]
    with container(name, arguments) as started:

        def answers() -> bool:
            probe = ("docker", "exec", started, "python", "-m", "llm_contract.probe", url)
            return subprocess.run(probe, capture_output=True, check=False).returncode == 0

        assert eventually(answers, START_SECONDS), docker("logs", "--tail", "20", started)
        seconds = RAY_STOPS_SECONDS if name == "router-ray" else STOP_SECONDS
        began = time.monotonic()
        docker("stop", "--time", str(seconds), started)  # sends SIGKILL then, and the status would be 137
        assert time.monotonic() - began < seconds
        assert docker("inspect", "--format", "{{.State.ExitCode}}", started).strip() == "0"


@pytest.mark.parametrize("name", JOBS)
def test_a_job_says_how_it_is_used(name: str) -> None:
    need(name)
    said = docker("run", "--rm", "--network", "none", *HARDENED, tag(name), *JOBS[name])
    assert said.startswith("usage: ")


def test_the_engines_kernels_were_compiled_ahead() -> None:
    """The image has no compiler: without them the engine would decode with torch alone."""
    need("engine")
    code = "from llm_kernels.cpu.build import library, why_not; print(why_not(), library()._name)"
    found = docker("run", "--rm", "--network", "none", *HARDENED, "--entrypoint", "python", tag("engine"), "-c", code)
    assert found.startswith("None /opt/kernels/cpu/kernels-")


def test_hadolint_has_no_complaint() -> None:
    done = subprocess.run((tool("hadolint"), str(DOCKERFILE)), capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")
