"""`python -m llm_monitor.web.keys`: make a key, and the line that settings take instead of it."""

from __future__ import annotations

import secrets

from llm_monitor.web.security import hash_key


def main() -> None:
    key = secrets.token_urlsafe(32)
    print(f"key, shown this once:    {key}")
    print(f'line for web.keys:       - "{hash_key(key)}"')


if __name__ == "__main__":
    main()
