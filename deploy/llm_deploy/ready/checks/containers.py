"""Checks of how containers run, from `docker inspect` or the pods: rights, limits, probes, images."""

from __future__ import annotations

import re
from collections.abc import Callable

import yaml

from llm_deploy import paths
from llm_deploy.ready.check import Check, Finding, Subject, judged
from llm_deploy.running.container import Container

PAGE = "deploy/README.md"
_SECRET = re.compile(r"(KEY|TOKEN|SECRET|PASSWORD)$")
_NOT_SECRET = {"GPG_KEY"}
"""Python's official image has the fingerprint of its release key there."""
_OWN_SETTINGS = (
    "import subprocess, sys; words = open('/proc/1/cmdline').read().split(chr(0))[:-1]; "
    "sys.exit(subprocess.call([*words, '--print-config']))"
)
_INSTALLED = "from importlib.metadata import distributions as d; print(*(f'{x.name}=={x.version}' for x in d()))"
DRAINS = {"gateway": "drain_timeout", "router": "edge_drain_timeout"}
"""Service -> its setting with the seconds that requests in flight have after SIGTERM."""


def each(fault: Callable[[Container], str]) -> Callable[[Subject], Finding]:
    """Make a check of a function that returns what is wrong with one container; empty: nothing."""

    def run(subject: Subject) -> Finding:
        faults = [f"{one.service}: {found}" for one in subject.containers if (found := fault(one))]
        return judged(faults, ", ".join(sorted({one.service for one in subject.containers})))

    return run


def _root(one: Container) -> str:
    return "" if one.user.partition(":")[0] not in ("", "0", "root") else f"user is {one.user or 'root'}"


def _privileges(one: Container) -> str:
    kept = [] if "ALL" in one.dropped else ["keeps capabilities"]
    return ", ".join(kept + ([] if one.no_new_privileges else ["may gain privileges"]))


def _limits(one: Container) -> str:
    missing = [name for name, limit in (("memory", one.memory_bytes), ("CPU", one.cpus)) if not limit]
    return f"no limit of {' and '.join(missing)}" if missing else ""


def _version(one: Container) -> str:
    name, _, tag = one.image.rpartition(":")
    if "@sha256:" in one.image:
        return ""
    if not name or "/" in tag or tag == "latest":
        return f"{one.image} is not pinned"
    return ""


def _probes(one: Container) -> str:
    if one.probes == ("docker",):
        return ""
    missing = [kind for kind in ("startup", "liveness", "readiness") if kind not in one.probes]
    return f"no {', '.join(missing)} probe" if missing else ""


def _environment(one: Container) -> str:
    names = sorted(name for name, value in one.environment.items() if _SECRET.search(name) and value)
    names = [name for name in names if name not in _NOT_SECRET]
    return f"secrets in the environment: {', '.join(names)}" if names else ""


def drain(subject: Subject) -> Finding:
    """Compare the time that a stop leaves with the drain time of the settings that the service runs with."""
    faults, observed = [], []
    for one in subject.containers:
        if setting := DRAINS.get(one.role):
            settings = yaml.safe_load(subject.deployment.run_in(one.service, "python", "-c", _OWN_SETTINGS))
            seconds = float(settings[setting])
            text = f"{one.service}: drains {seconds:g} s, killed after {one.stop_seconds:g} s"
            observed.append(text)
            faults += [text] if one.stop_seconds <= seconds else []
    return judged(faults, "; ".join(observed))


def locked(subject: Subject) -> Finding:
    """Compare the packages in each image with the image's lock, which has a hash for each."""
    faults, observed = [], []
    for one in {each.role: each for each in subject.containers}.values():
        lock = (paths.DEPLOY / "images" / "locks" / f"{one.role}.txt").read_text(encoding="utf-8")
        pinned = {_normal(name): version for name, version in re.findall(r"^([\w.-]+)==([^\s;\\]+)", lock, re.M)}
        found = dict(
            pair.split("==") for pair in subject.deployment.run_in(one.service, "python", "-c", _INSTALLED).split()
        )
        strange = [f"{name} {version}" for name, version in found.items() if pinned.get(_normal(name)) != version]
        observed.append(f"{one.role}: {len(found)} packages")
        faults += [f"{one.role}: {', '.join(sorted(strange)[:3])} not as locked"] if strange else []
        faults += [f"{one.role}: the lock has no hashes"] if "--hash=sha256:" not in lock else []
    return judged(faults, "; ".join(observed))


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


INSPECTED = "docker inspect or kubectl get pods"
CHECKS = (
    Check(name="non-root", asserts="no service runs as root", how=INSPECTED, page=PAGE, run=each(_root),
          covers=("Containers with Docker and Kubernetes",)),
    Check(name="read-only-root", asserts="no service can write into its image", how=INSPECTED, page=PAGE,
          run=each(lambda one: "" if one.read_only else "the root file system can be written")),
    Check(name="privileges", asserts="services have no capabilities and gain none", how=INSPECTED, page=PAGE,
          run=each(_privileges)),
    Check(name="limits", asserts="each service has a limit of memory and CPU", how=INSPECTED, page=PAGE,
          run=each(_limits)),
    Check(name="probes", asserts="each service has health checks", how=INSPECTED, page=PAGE, run=each(_probes),
          covers=("Health checks and readiness probes",)),
    Check(name="restarts", asserts="a service that ends is started again", how=INSPECTED,
          page="docs/runbooks/TargetDown.md", run=each(lambda one: "" if one.restarts_itself else "stays away")),
    Check(name="log-rotation", asserts="logs cannot fill the disk", how=INSPECTED, page="docs/runbooks/DiskFull.md",
          run=each(lambda one: "" if one.rotates_logs else "its log grows without bound")),
    Check(name="versions-pinned", asserts="images have an exact tag or a digest", how=INSPECTED,
          page="docs/operations/upgrade.md", run=each(_version)),
    Check(name="secrets-in-files", asserts="no secret is in an environment variable", how=INSPECTED,
          page="docs/runbooks/KeyRotation.md", run=each(_environment)),
    Check(name="packages-locked", asserts="images hold the packages of their locks, with hashes",
          how="importlib.metadata inside, deploy/images/locks", page=PAGE, run=locked),
    Check(name="drain-time", asserts="a stop leaves more time than the drain takes",
          how="--print-config inside, the stop's time-out", page="docs/operations/upgrade.md", run=drain),
)  # fmt: skip
