"""A health check that needs no shell: `python -m llm_contract.probe http://127.0.0.1:8080/ready`.

Containers run it as HEALTHCHECK and as a Kubernetes exec probe. It imports only the standard library.
"""

from __future__ import annotations

import http.client
import sys
from collections.abc import Sequence
from urllib.parse import urlsplit

DEFAULT_TIMEOUT = 2.0


def main(argv: Sequence[str] | None = None) -> int:
    """Return 0 if the URL answers 200, 1 if it does not (the reason is on stderr), 2 for wrong usage."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    try:
        url, timeout = arguments[0], float(arguments[1]) if len(arguments) > 1 else DEFAULT_TIMEOUT
        parts = urlsplit(url)
        if parts.scheme != "http" or not parts.hostname or timeout <= 0:
            raise ValueError
    except (IndexError, ValueError):
        print("usage: python -m llm_contract.probe http://HOST:PORT/PATH [SECONDS]", file=sys.stderr)
        return 2
    reason = failure(parts.hostname, parts.port or 80, parts.path or "/", timeout=timeout)
    if reason:
        print(f"{url}: {reason}", file=sys.stderr)
    return 1 if reason else 0


def failure(host: str, port: int, path: str, *, timeout: float) -> str | None:
    """Return why GET `path` failed, or None if it was answered with 200 within `timeout` seconds per operation."""
    connection = http.client.HTTPConnection(host, port, timeout=timeout)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        body = answer.read(200).decode(errors="replace")
    except (OSError, http.client.HTTPException) as error:
        return str(error) or type(error).__name__
    finally:
        connection.close()
    return None if answer.status == http.client.OK else f"{answer.status} {body.strip()}"


if __name__ == "__main__":
    sys.exit(main())
