"""URLs and names of engines: one check for the configuration, a reload and the admin API.

A URL that passes the check raises no exception in a resolver, a codec or the HTTP writer. The probes find out whether
an engine answers there. Messages say what is wrong and never repeat a URL that holds a password.
"""

from __future__ import annotations

import re
from ipaddress import IPv4Address, IPv6Address
from typing import Annotated
from urllib.parse import SplitResult, urlsplit

from pydantic import AfterValidator

MAX_URL = 2048
MAX_HOST = 253
PORTS = {"http": 80, "https": 443}

_LABEL = re.compile(r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?")
_PATH = re.compile(r"(/[A-Za-z0-9._~!$&'()*+,;=:@%-]*)*")
_NAME = re.compile(r"[A-Za-z0-9_\[][A-Za-z0-9_.:\[\]-]{0,127}")


def base_url(text: str) -> str:
    """Return the URL without a trailing slash, its host in lower-case ASCII. Raise ValueError if it is wrong."""
    try:
        split, host = _checked(text)
    except ValueError as error:
        shown = f"{text[:80]!r}" if "@" not in text else "a URL with a user or a password"
        raise ValueError(f"{shown} is not a base URL: {error}; write it as http://127.0.0.1:8000") from None
    port = f":{split.port}" if split.port is not None else ""
    return f"{split.scheme}://{host}{port}{split.path.rstrip('/')}"


def default_name(url: str) -> str:
    """Return `host:port` of a URL that `base_url` accepted."""
    split = urlsplit(url)
    host = f"[{split.hostname}]" if ":" in (split.hostname or "") else split.hostname
    return f"{host}:{split.port or PORTS[split.scheme]}"


def host_name(text: str) -> str:
    """Return the host in lower-case ASCII, an IPv6 address in brackets. Raise ValueError if it is not a host."""
    if text.startswith("[") and text.endswith("]"):
        return f"[{_ipv6(text[1:-1])}]"
    host = text.lower() if text.isascii() else _punycode(text)
    labels = host.removesuffix(".").split(".")
    if len(host) > MAX_HOST:
        raise ValueError(f"its host is longer than {MAX_HOST} characters")
    for label in labels:
        if not label:
            raise ValueError(f"the host {host!r} has an empty label")
        if len(label) > 63:
            raise ValueError(f"the host has a label of {len(label)} characters, more than 63")
        if not _LABEL.fullmatch(label):
            raise ValueError(f"{label!r} is not a label of a host name")
    if labels[-1].isdigit():
        return str(_ipv4(host))
    return host


def listen_address(text: str) -> str:
    """Return an address to listen on: a name, an IP address without brackets, or empty for all interfaces.

    Raise ValueError if it is none of these.
    """
    if not text:
        return text
    return str(_ipv6(text)) if ":" in text else host_name(text)


def check_redis_url(text: str) -> None:
    """Raise ValueError if the URL is wrong. The message does not repeat the URL, which can hold a password."""
    split = urlsplit(text)
    if split.scheme not in ("redis", "rediss", "unix"):
        raise ValueError("a Redis URL begins with redis://, rediss:// or unix://")
    if split.scheme != "unix":
        host, port = _split_port(split.netloc.rpartition("@")[2])
        _check_port(port)
        host_name(host)


def _checked(text: str) -> tuple[SplitResult, str]:
    if len(text) > MAX_URL:
        raise ValueError(f"it is longer than {MAX_URL} characters")
    if any(character.isspace() or not character.isprintable() for character in text):
        raise ValueError("it contains spaces or control characters")
    split = urlsplit(text)
    if split.scheme not in PORTS:
        raise ValueError("it does not begin with http:// or https://")
    if "@" in split.netloc:
        raise ValueError("it contains a user or a password; put a key into `api_key`")
    if "?" in text or "#" in text:
        raise ValueError("it has a query or a fragment")
    host, port = _split_port(split.netloc)
    if not host:
        raise ValueError("it has no host")
    _check_port(port)
    if not _PATH.fullmatch(split.path):
        raise ValueError("its path contains characters that are not allowed in a URL")
    return split, host_name(host)


def _split_port(netloc: str) -> tuple[str, str]:
    if netloc.startswith("["):
        host, bracket, rest = netloc.partition("]")
        if not bracket or (rest and not rest.startswith(":")):
            raise ValueError("its IPv6 address is not in brackets")
        return host + bracket, rest[1:]
    host, _, port = netloc.partition(":")
    if ":" in port:
        raise ValueError("an IPv6 address needs brackets")
    return host, port


def _check_port(port: str) -> None:
    if port and not (port.isascii() and port.isdigit() and 1 <= int(port[:6]) <= 65535):
        raise ValueError(f"the port {port[:8]!r} is not a number from 1 to 65535")


def _punycode(host: str) -> str:
    try:
        return host.encode("idna").decode("ascii").lower()
    except UnicodeError:
        raise ValueError(f"{host[:80]!r} is not a host name") from None


def _ipv4(host: str) -> IPv4Address:
    try:
        return IPv4Address(host)
    except ValueError:
        raise ValueError(f"{host!r} is not an IPv4 address") from None


def _ipv6(host: str) -> IPv6Address:
    if "%" in host:
        raise ValueError("an IPv6 address with a zone is not supported")
    try:
        return IPv6Address(host)
    except ValueError:
        raise ValueError(f"{host[:80]!r} is not an IPv6 address") from None


def _checked_name(name: str) -> str:
    if name and not _NAME.fullmatch(name):
        raise ValueError("a name has up to 128 letters, digits and _ . : [ ] -")
    return name


BaseUrl = Annotated[str, AfterValidator(base_url)]
"""A settings field: the base URL of an engine."""

EngineName = Annotated[str, AfterValidator(_checked_name)]
"""A settings field: the name of an engine, as it appears in headers, metrics, paths and logs."""

HostName = Annotated[str, AfterValidator(host_name)]
"""A settings field: a host name or an IP address."""

ListenAddress = Annotated[str, AfterValidator(listen_address)]
"""A settings field: an address to listen on."""
