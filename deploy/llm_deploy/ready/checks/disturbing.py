"""Checks that disturb the deployment: kill, hang, stop, overload. Each leaves it as it was."""

from __future__ import annotations

import threading
import time

from llm_deploy.drills.faults import FAULTS
from llm_deploy.drills.flood import flood
from llm_deploy.drills.game_day import hold
from llm_deploy.errors import DeployError
from llm_deploy.ready.check import GATEWAY_PORT, Check, Finding, Subject, judged
from llm_deploy.ready.overload import measure
from llm_deploy.running.compose import Compose
from llm_deploy.running.http import ask, stream
from llm_deploy.running.load import clients
from llm_deploy.running.waiting import eventually

READY_SECONDS = 120.0
STREAM_TOKENS = 1200
"""Some seconds, and less than the drain takes at most."""


def drilled(name: str, subject: Subject) -> Finding:
    """Hold a drill; the finding is red if anything differs from its runbook."""
    assert isinstance(subject.deployment, Compose)
    outcome = hold(subject.runbooks[name], FAULTS[name], subject.deployment, say=lambda _: None)
    faults = [f"{row.what}: {row.seen}, not {row.expected}" for row in outcome.rows if not row.agrees]
    return judged(faults, "; ".join(f"{row.what}: {row.seen}" for row in outcome.rows))


def engines_restart(subject: Subject) -> Finding:
    """Stop and start one engine after the other, as an update does, under clients that see every failure."""
    deployment = subject.deployment
    engines = [one.service for one in subject.containers if one.role == "engine"]
    if len(engines) < 2:
        return Finding("red", f"{len(engines)} engine: any restart is an outage")
    with clients(subject.gateway, deployment.keys.client, 4) as seen:
        for service in engines:
            deployment.stop(service)
            deployment.start(service)
            query = f'up{{instance=~"{service}(:.*)?"}} == 1'
            if not eventually(lambda query=query: bool(subject.monitor.series(query)), READY_SECONDS):  # type: ignore[misc]
                return Finding("red", f"{service} was not ready {READY_SECONDS:.0f} s after its restart")
    faults = [f"{count} x {status or 'no answer'}" for status, count in seen.statuses.items() if status != 200]
    return judged(faults, f"{len(engines)} engines restarted, clients got {seen.text()}")


def drains(subject: Subject) -> Finding:
    """Stop the gateway while it streams: the stream must end well, and the stop before SIGKILL."""
    deployment, gateway = subject.deployment, subject.gateway
    limit = next(one.stop_seconds for one in subject.containers if one.role == "gateway")
    body = {"model": "main", "prompt": "def f", "max_tokens": STREAM_TOKENS, "ignore_eos": True, "stream": True}
    texts: list[str] = []
    began = threading.Event()

    def read() -> None:
        url, key = f"{gateway}/v1/completions", deployment.keys.client
        texts.append(stream(url, key=key, body=body, on_first=began.set, timeout=limit + 60))
        began.set()  # also if there was no first line

    reading = threading.Thread(target=read)
    reading.start()
    began.wait()
    try:
        seconds = deployment.stop("gateway")
        reading.join()
    finally:
        deployment.start("gateway")
    ready = eventually(lambda: _ready(subject), READY_SECONDS)
    faults = [] if texts[0].rstrip().endswith("[DONE]") else [f"the stream was cut: …{texts[0][-60:]!r}"]
    faults += [] if seconds < limit else [f"the stop took {seconds:.0f} s, and SIGKILL came after {limit:.0f} s"]
    faults += [] if ready else ["the gateway was not ready again"]
    return judged(
        faults, f"a stream of {STREAM_TOKENS} tokens was finished; stopped after {seconds:.1f} s of {limit:.0f} s"
    )


def _ready(subject: Subject) -> bool:
    """The published port can be another after a restart."""
    try:
        return ask(f"{subject.deployment.url('gateway', GATEWAY_PORT)}/ready").status == 200
    except DeployError:
        return False


def overloaded(subject: Subject) -> Finding:
    """Offer 1.2 times what the deployment can serve; nothing but 429 may be refused, and the urgent go first."""
    found = measure(subject.gateway, subject.deployment.keys.client)
    failed = {status: count for status, count in found.statuses.items() if status not in (200, 429)}
    faults = [f"{count} x {status or 'no answer'}" for status, count in failed.items()]
    if found.interactive > found.batch:
        faults.append(f"interactive waits {found.interactive:.2f} s and batch {found.batch:.2f} s")
    return judged(faults, found.text())


def saturated(subject: Subject) -> Finding:
    """Fill the queue: engines and gateway must stay ready, and a batch request gets 429 and nothing worse."""
    # Earlier checks have restarted some: look again.
    before = {one.name: one.pid for one in Subject(subject.deployment).containers}
    with flood(subject.gateway, subject.deployment.keys.client) as refusal:
        refused = eventually(lambda: refusal() == 429, 60)
        began = time.monotonic()
        urgent = ask(f"{subject.gateway}/v1/completions", key=subject.deployment.keys.client,
                     body={"model": "main", "prompt": "def f", "max_tokens": 1},
                     headers={"x-priority": "interactive"}, timeout=60)  # fmt: skip
        waited = time.monotonic() - began
        down = subject.monitor.series("up == 0")
    after = {one.name: one.pid for one in Subject(subject.deployment).containers}
    faults = [] if refused else [f"no 429 within 60 s; the newest refusal: {refusal()}"]
    faults += [] if urgent.status == 200 else [f"an interactive request got {urgent.status or urgent.text}"]
    faults += [f"{one['metric']['instance']} does not answer its scrape" for one in down]
    faults += [f"{name} was restarted" for name, pid in before.items() if after.get(name) != pid]
    return judged(faults, f"batch got 429, an interactive request 200 after {waited:.1f} s; no service was restarted")


CHECKS = (
    Check(name="alerts-fire", asserts="an engine's death raises an alert that resolves, and no client notices",
          how="./lab drill kill-engine", page="docs/runbooks/TargetDown.md", disturbs=True, kinds=("compose",),
          run=lambda subject: drilled("kill-engine", subject)),
    Check(name="hung-is-noticed", asserts="an engine that hangs raises an alert, and no client notices",
          how="./lab drill hang-engine", page="docs/runbooks/EngineStalled.md", disturbs=True, kinds=("compose",),
          run=lambda subject: drilled("hang-engine", subject), covers=("Health checks and readiness probes",)),
    Check(name="engines-restart", asserts="engines are replaced one by one without a failed request",
          how="stop and start each under four clients", page="docs/operations/upgrade.md", disturbs=True,
          kinds=("compose",), run=engines_restart, covers=("Deployments without downtime are demonstrated",)),
    Check(name="drains", asserts="a gateway that is stopped finishes its streams first",
          how="stop it while it streams", page="docs/operations/upgrade.md", disturbs=True, kinds=("compose",),
          run=drains, covers=("Deployments without downtime are demonstrated",)),
    Check(name="load-1.2x", asserts="at 1.2 times its capacity nothing fails but by 429, and the urgent go first",
          how="an open load of three classes at 1.2 times the measured rate", page="docs/runbooks/RequestsWaiting.md",
          disturbs=True, run=overloaded),
    Check(name="saturated-stays", asserts="a full queue answers 429, serves the urgent, and restarts nothing",
          how="400 batch clients", page="docs/runbooks/ErrorRatio.md", disturbs=True, run=saturated,
          covers=("Health checks and readiness probes",)),
)  # fmt: skip
