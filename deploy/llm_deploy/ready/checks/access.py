"""Checks of who gets in: keys, the admin API, open ports, TLS."""

from __future__ import annotations

from llm_deploy.errors import DeployError
from llm_deploy.ready.check import ADMIN_PORT, Check, Finding, Subject, judged
from llm_deploy.running.http import ask

COMMON_KEYS = ("", "EMPTY", "admin", "changeme", "default", "password", "secret", "sk-1234", "test", "token")
"""Keys that installations ship with."""
PAGE = "docs/runbooks/KeyRotation.md"
REFUSED = (401, 403)


def keys_required(subject: Subject) -> Finding:
    body = {"model": "main", "prompt": "def f", "max_tokens": 1}
    url = f"{subject.gateway}/v1/completions"
    found = {key: ask(url, key=key, body=body).status for key in COMMON_KEYS}
    faults = [f"{key or 'no key'}: {status}" for key, status in found.items() if status != 401]
    own = ask(url, key=subject.deployment.keys.client, body=body)
    if own.status != 200:
        faults.append(f"the client's own key: {own.status or own.text}")
    return judged(faults, f"401 without a key and with {len(found) - 1} common ones, 200 with the client's")


def operators_only(subject: Subject) -> Finding:
    """Names of tenants and addresses of engines are for operators, and so are changes."""
    paths = {"/metrics": subject.gateway, "/sla": subject.gateway, "/api/v1/targets": subject.monitor.url}
    found = {path: ask(url + path).status for path, url in paths.items()}
    try:
        admin = subject.deployment.url("gateway", ADMIN_PORT)
    except DeployError:
        found_admin = "admin API: not published"
    else:
        found["/admin/engines"] = ask(f"{admin}/admin/engines").status
        found_admin = ""
    faults = [
        f"{path} without a key: {status or 'no answer'}" for path, status in found.items() if status not in REFUSED
    ]
    seen = [f"{path}: {status}" for path, status in found.items()] + ([found_admin] if found_admin else [])
    return judged(faults, ", ".join(seen))


def encrypted(subject: Subject) -> Finding:
    """Plain HTTP may be reached from this machine only."""
    if subject.deployment.kind == "kubernetes":
        return _ingress(subject)
    outside = [
        f"{one.service}: {address} is open to the network, without TLS"
        for one in subject.deployment.containers()
        for address in one.ports.values()
        if not address.startswith(("127.0.0.1:", "::1:"))
    ]
    return judged(outside, "all published ports are on loopback")


def _ingress(subject: Subject) -> Finding:
    from llm_deploy.running.cluster import Cluster

    assert isinstance(subject.deployment, Cluster)
    found = subject.deployment.items("ingresses")
    plain = [f"{one['metadata']['name']}: no TLS" for one in found if not one["spec"].get("tls")]
    return judged(
        plain, f"{len(found)} ingresses, each with TLS" if found else "no ingress: nothing leaves the cluster"
    )


CHECKS = (
    Check(name="keys-required", asserts="the gateway answers its tenants only, and no default key works",
          how="completions with no key, common keys and the client's", page=PAGE, run=keys_required),
    Check(name="operators-only", asserts="metrics, service levels, the monitor and the admin API are closed",
          how="requests without a key", page=PAGE, run=operators_only),
    Check(name="encrypted", asserts="no plain HTTP is open to the network", how="published ports, ingresses",
          page="docs/operations/architecture.md", run=encrypted),
)  # fmt: skip
