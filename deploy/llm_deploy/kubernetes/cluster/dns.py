"""A name server for the test cluster, in CoreDNS's place: it answers for the Services of one API server.

    python -m llm_deploy.kubernetes.cluster.dns KUBECONFIG ADDRESS

SERVICE.NAMESPACE.svc.cluster.local is the cluster address, or the addresses of all ready pods of a headless Service;
POD.SERVICE.NAMESPACE.svc.cluster.local is one pod with that host name. All other names do not exist: the pods of this
cluster have no business outside. The lists are read twice a second, and answers live for a second.
"""

from __future__ import annotations

import json
import logging
import socket
import ssl
import struct
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

DOMAIN = "svc.cluster.local"
PORT = 53
TTL_SECONDS = 1
READ_SECONDS = 0.5
TYPE_A, CLASS_IN = 1, 1
NO_SUCH_NAME = 3

Records = dict[str, list[str]]
"""Name without its last dot -> addresses."""

log = logging.getLogger(__name__)


def records(services: list[dict[str, Any]], endpoints: list[dict[str, Any]]) -> Records:
    """Return the addresses of all names, from the items of the API's two lists."""
    found: Records = {}
    headless = set()
    for service in services:
        name, address = _name(service), service["spec"].get("clusterIP")
        if address == "None":
            headless.add(name)
        elif address:
            found[name] = [address]
    for item in endpoints:
        name = _name(item)
        if name not in headless:
            continue
        found[name] = []
        for address in _addresses(item):
            found[name].append(address["ip"])
            if hostname := address.get("hostname"):
                found[f"{hostname}.{name}"] = [address["ip"]]
    return found


def answer(query: bytes, known: Records) -> bytes:
    """Return the answer to one query. A known name without an address of the asked type has an empty answer."""
    name, end = _question(query)
    kind, _ = struct.unpack_from("!HH", query, end)
    addresses = known.get(name)
    shown = addresses if addresses and kind == TYPE_A else []
    code = NO_SUCH_NAME if addresses is None else 0
    # 0x8400: an authoritative answer; the client's wish for recursion is copied.
    flags = 0x8400 | struct.unpack_from("!H", query, 2)[0] & 0x0100 | code
    head = query[:2] + struct.pack("!HHHHH", flags, 1, len(shown), 0, 0)
    body = b"".join(
        struct.pack("!HHHIH", 0xC00C, TYPE_A, CLASS_IN, TTL_SECONDS, 4) + socket.inet_aton(address) for address in shown
    )
    return head + query[12 : end + 4] + body


def _name(item: dict[str, Any]) -> str:
    return f"{item['metadata']['name']}.{item['metadata']['namespace']}.{DOMAIN}"


def _addresses(item: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for subset in item.get("subsets") or ():
        yield from subset.get("addresses") or ()


def _question(query: bytes) -> tuple[str, int]:
    """Return the asked name in lower case and the index of its type."""
    labels, at = [], 12
    while length := query[at]:
        labels.append(query[at + 1 : at + 1 + length].decode("ascii", "replace").lower())
        at += 1 + length
    return ".".join(labels), at + 1


class Reader(threading.Thread):
    """Keeps `known` equal to the API server's lists. The last lists stay while the API server does not answer."""

    def __init__(self, kubeconfig: dict[str, Any]) -> None:
        super().__init__(daemon=True)
        self._server = kubeconfig["clusters"][0]["cluster"]["server"]
        self._token = kubeconfig["users"][0]["user"]["token"]
        self._context = ssl._create_unverified_context()
        self.known: Records = {}

    def run(self) -> None:
        while True:
            try:
                self.known = records(self._items("services"), self._items("endpoints"))
            except (OSError, ValueError) as error:
                log.warning("the API server does not answer: %s", error)
            time.sleep(READ_SECONDS)

    def _items(self, kind: str) -> list[dict[str, Any]]:
        headers = {"Authorization": f"Bearer {self._token}"}
        request = urllib.request.Request(f"{self._server}/api/v1/{kind}", headers=headers)
        with urllib.request.urlopen(request, timeout=5, context=self._context) as response:
            items: list[dict[str, Any]] = json.load(response)["items"]
            return items


def serve(kubeconfig: Path, address: str) -> None:
    reader = Reader(json.loads(kubeconfig.read_text()))
    reader.start()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as listener:
        listener.bind((address, PORT))
        while True:
            query, client = listener.recvfrom(4096)
            try:
                reply = answer(query, reader.known)
            except (IndexError, struct.error):
                continue  # no query
            listener.sendto(reply, client)


if __name__ == "__main__":
    serve(Path(sys.argv[1]), sys.argv[2])
