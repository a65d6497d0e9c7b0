"""TLS towards engines: certificates are checked against the system's authorities, or against those in a file."""

from __future__ import annotations

import ssl
from typing import Annotated

from pydantic import AfterValidator


def tls_context(ca_file: str | None) -> ssl.SSLContext:
    """Return a context that trusts the authorities in `ca_file`, or the system's if it is None. Raise ValueError."""
    try:
        return ssl.create_default_context(cafile=ca_file)
    except (OSError, ValueError) as error:
        reason = "it holds no PEM certificates" if isinstance(error, ssl.SSLError) else str(error)
        raise ValueError(f"cannot read certificates from {ca_file}: {reason}") from None


def _checked_file(path: str) -> str:
    tls_context(path)
    return path


CaFile = Annotated[str, AfterValidator(_checked_file)]
"""A settings field: a file of PEM certificates."""
