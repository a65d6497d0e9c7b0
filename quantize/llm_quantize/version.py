"""The version that `--version` shows and records keep."""

__version__ = "0.1.0"
