"""API keys: generated here and kept by the client. The gateway knows only their hashes.

    llm-gateway key new

prints a new key once, with the line for the configuration. A key has 256 random bits, so its SHA-256 cannot be reversed
by search. It needs neither salt nor a slow hash, which protect passwords that people choose. For the same reason, never
put the hash of a secret that a person chose into the configuration.

The time of a comparison leaks nothing. The client's key is hashed first. A client cannot choose the digest of its
guess, so it cannot approach a known digest byte by byte. The digests are then compared in constant time.
"""

from __future__ import annotations

import hmac
import os
import secrets
import sys
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator

PREFIX = "sk-"
HASH_PREFIX = "sha256:"
KEY_BYTES = 32
DIGEST_CHARACTERS = 64

BEARER = "bearer "


def new_key() -> str:
    return PREFIX + secrets.token_urlsafe(KEY_BYTES)


def digest_of(key: str) -> bytes:
    return sha256(key.encode("utf-8", "surrogateescape")).digest()


def key_hash(key: str) -> str:
    """Return the hash of a key for the configuration, `sha256:<hex>`."""
    return HASH_PREFIX + digest_of(key).hex()


def digest_in(configured: str) -> bytes:
    """Return the digest in `sha256:<hex>`. Raise ValueError without repeating the value, which can be a key."""
    text = configured.removeprefix(HASH_PREFIX)
    if text == configured or len(text) != DIGEST_CHARACTERS:
        raise ValueError("a key is configured by its hash, sha256:<64 hex digits>; `llm-gateway key new` makes both")
    try:
        return bytes.fromhex(text)
    except ValueError:
        raise ValueError("a key's hash must be sha256:<64 hex digits>, and these are not hex digits") from None


def matches(key: str | None, digest: bytes) -> bool:
    return key is not None and hmac.compare_digest(digest_of(key), digest)


def bearer(authorization: str | None) -> str | None:
    """Return the key in `Authorization: Bearer <key>`, None if there is none."""
    if authorization is None or authorization[: len(BEARER)].lower() != BEARER:
        return None
    return authorization[len(BEARER) :].strip() or None


def secret(source: str) -> str:
    """Return the secret at `env:NAME` or `file:PATH`; the configuration itself holds none. Raise ValueError."""
    kind, _, where = source.partition(":")
    if kind == "env":
        found = os.environ.get(where, "")
    elif kind == "file":
        try:
            found = Path(where).read_text(encoding="utf-8").strip()
        except OSError as error:
            raise ValueError(f"cannot read the secret in {where}: {error.strerror}") from None
    else:
        raise ValueError("a secret is configured by its place, env:NAME or file:PATH")
    if not found or not found.isascii() or not found.isprintable():
        raise ValueError(f"{source} contains no secret; it must be one line of printable ASCII")
    return found


def authorization(source: str | None) -> str | None:
    """Return the Authorization header for an engine whose key is at `source`, None without a key."""
    return f"Bearer {secret(source)}" if source else None


def _checked_hash(configured: str) -> str:
    digest_in(configured)
    return configured


def _checked_secret(source: str) -> str:
    secret(source)
    return source


KeyHash = Annotated[str, AfterValidator(_checked_hash)]
"""A settings field: the hash of a key, `sha256:<hex>`."""

SecretSource = Annotated[str, AfterValidator(_checked_secret)]
"""A settings field: the place of a secret, `env:NAME` or `file:PATH`. An empty place is refused."""


def main(argv: Sequence[str]) -> None:
    """Run `llm-gateway key new`."""
    if list(argv) != ["new"]:
        sys.exit("usage: llm-gateway key new")
    key = new_key()
    print(f"key, shown this once:      {key}")
    print(f'line for a tenant\'s keys:  - "{key_hash(key)}"')
