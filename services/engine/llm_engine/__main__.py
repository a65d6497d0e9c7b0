"""The entry point of `python -m llm_engine`."""

from llm_engine.cli import main

raise SystemExit(main())
