"""Free TCP ports on loopback."""

from __future__ import annotations

import socket
from collections.abc import Iterator

HOST = "127.0.0.1"


def free_ports(preferred: int) -> Iterator[int]:
    """Return distinct free ports: `preferred` and the ones above it, if they are free."""
    for port in range(preferred, min(preferred + 1000, 65536)):
        if _is_free(port):
            yield port
    raise OSError(f"no free port from {preferred} to {preferred + 999}")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        # As servers bind: a port whose last connections are in TIME_WAIT counts as free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
        return True
