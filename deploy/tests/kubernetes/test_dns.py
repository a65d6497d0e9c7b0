from __future__ import annotations

import socket
import struct
from typing import Any

from llm_deploy.kubernetes.cluster.dns import answer, records


def service(name: str, address: str) -> dict[str, Any]:
    return {"metadata": {"name": name, "namespace": "llm"}, "spec": {"clusterIP": address}}


def endpoints(name: str, *addresses: dict[str, str]) -> dict[str, Any]:
    return {"metadata": {"name": name, "namespace": "llm"}, "subsets": [{"addresses": list(addresses)}]}


KNOWN = records(
    [service("router", "10.96.0.7"), service("engine", "None")],
    [endpoints("router", {"ip": "172.17.0.3"}), endpoints("engine", {"ip": "172.17.0.5", "hostname": "engine-0"})],
)


def query(name: str, kind: int = 1) -> bytes:
    labels = b"".join(bytes([len(part)]) + part.encode() for part in name.split("."))
    return struct.pack("!HHHHHH", 7, 0x0100, 1, 0, 0, 0) + labels + b"\0" + struct.pack("!HH", kind, 1)


def asked(name: str, kind: int = 1) -> tuple[int, list[str]]:
    """Return the code and the addresses of the answer to a query."""
    reply = answer(query(name, kind), KNOWN)
    number, flags, questions, answers = struct.unpack_from("!HHHH", reply)
    assert (number, questions) == (7, 1)
    end = len(query(name))
    found = [socket.inet_ntoa(reply[end + 16 * one + 12 : end + 16 * one + 16]) for one in range(answers)]
    return flags & 0xF, found


def test_a_service_is_its_cluster_address() -> None:
    assert asked("router.llm.svc.cluster.local") == (0, ["10.96.0.7"])
    assert asked("ROUTER.llm.svc.cluster.LOCAL") == (0, ["10.96.0.7"])


def test_a_headless_service_is_its_pods() -> None:
    assert asked("engine.llm.svc.cluster.local") == (0, ["172.17.0.5"])
    assert asked("engine-0.engine.llm.svc.cluster.local") == (0, ["172.17.0.5"])


def test_a_headless_service_without_pods_exists() -> None:
    assert records([service("engine", "None")], [endpoints("engine")]) == {"engine.llm.svc.cluster.local": []}


def test_an_unknown_name_does_not_exist() -> None:
    assert asked("engine-1.engine.llm.svc.cluster.local") == (3, [])
    assert asked("router.llm.svc.cluster.local.example.com") == (3, [])


def test_a_known_name_has_no_address_of_another_type() -> None:
    assert asked("router.llm.svc.cluster.local", kind=28) == (0, [])
