"""The entry point of `python -m llm_quantize`."""

from llm_quantize.cli import main

raise SystemExit(main())
