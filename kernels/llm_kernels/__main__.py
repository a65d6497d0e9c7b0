"""python -m llm_kernels"""

from llm_kernels.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
