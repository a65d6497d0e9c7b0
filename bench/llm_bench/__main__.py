"""`python -m llm_bench`. What sends load runs on gevent, which must patch the world before other imports."""

import sys

if sys.argv[1:2] and sys.argv[1] in ("run", "compare", "replay", "sweep", "saturate", "capacity", "worker"):
    from gevent import monkey

    monkey.patch_all()

from llm_bench.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
