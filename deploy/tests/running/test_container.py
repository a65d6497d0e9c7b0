"""Facts from `docker inspect` and from a pod."""

from __future__ import annotations

from llm_deploy.running.container import from_inspect, from_pod

INSPECTED = {
    "Name": "/llm-engine-0-1",
    "State": {"Pid": 42},
    "Config": {
        "Image": "llm-lab/engine:dev",
        "User": "10001:10001",
        "Env": ["A=1"],
        "Labels": {"com.docker.compose.service": "engine-0"},
        "Healthcheck": {"Test": ["CMD", "true"]},
        "StopTimeout": 75,
    },
    "HostConfig": {
        "ReadonlyRootfs": True,
        "SecurityOpt": ["no-new-privileges:true"],
        "CapDrop": ["ALL"],
        "Memory": 1 << 30,
        "NanoCpus": 1_500_000_000,
        "LogConfig": {"Type": "json-file", "Config": {"max-size": "10m"}},
        "RestartPolicy": {"Name": "unless-stopped"},
    },
    "NetworkSettings": {"Ports": {"8000/tcp": [{"HostIp": "127.0.0.1", "HostPort": "8000"}], "9/tcp": None}},
}
POD = {
    "metadata": {"name": "gateway-abc", "labels": {"app.kubernetes.io/name": "gateway"}},
    "spec": {
        "securityContext": {"runAsNonRoot": True},
        "terminationGracePeriodSeconds": 90,
        "containers": [
            {
                "name": "gateway",
                "image": "llm-lab/gateway:dev",
                "securityContext": {
                    "readOnlyRootFilesystem": True,
                    "allowPrivilegeEscalation": False,
                    "capabilities": {"drop": ["ALL"]},
                },
                "resources": {"limits": {"memory": "512Mi", "cpu": "500m"}},
                "startupProbe": {},
                "livenessProbe": {},
                "readinessProbe": {},
            }
        ],
    },
}


def test_facts_of_a_container() -> None:
    found = from_inspect(INSPECTED)
    assert (found.role, found.service, found.cpus, found.stop_seconds, found.pid) == ("engine", "engine-0", 1.5, 75, 42)
    assert found.read_only
    assert found.no_new_privileges
    assert found.rotates_logs
    assert found.restarts_itself
    assert (found.probes, found.ports, found.environment) == (("docker",), {8000: "127.0.0.1:8000"}, {"A": "1"})


def test_a_container_without_settings_has_none() -> None:
    bare = {"Name": "/x", "Config": {"Image": "x", "Labels": {}}, "HostConfig": {"RestartPolicy": {"Name": "no"}}}
    found = from_inspect(bare)
    assert not (found.user)
    assert not (found.read_only)
    assert not (found.memory_bytes)
    assert not (found.probes)
    assert not (found.restarts_itself)
    assert found.stop_seconds == 10


def test_facts_of_a_pod() -> None:
    (found,) = from_pod(POD)
    assert (found.name, found.role, found.user) == ("gateway-abc/gateway", "gateway", "non-root")
    assert (found.memory_bytes, found.cpus, found.stop_seconds) == (512 * 2**20, 0.5, 90)
    assert found.probes == ("startup", "liveness", "readiness")
    assert found.read_only
    assert found.no_new_privileges
    assert found.dropped == ("ALL",)
