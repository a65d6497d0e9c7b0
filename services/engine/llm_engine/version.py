"""The engine's version, which `--version` and `GET /version` show."""

__version__ = "0.1.0"
