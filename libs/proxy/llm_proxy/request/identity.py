"""The id of a request."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping

from llm_contract import headers

_SAFE_ID = re.compile(r"[\x21-\x7e]{1,128}")


def request_id(request_headers: Mapping[str, str]) -> str:
    """Return the client's request id if it is printable and not too long, else a new one."""
    given = request_headers.get(headers.REQUEST_ID)
    return given if given and _SAFE_ID.fullmatch(given) else os.urandom(16).hex()
