"""`python -m llm_bench`. Commands that send load run on gevent, which must patch the process before other imports."""

import signal
import sys

SENDS = ("run", "compare", "replay", "sweep", "saturate", "capacity", "worker")


def main() -> int:
    """Run the command.

    An interrupt prints one line at any moment: during imports, in the hub's greenlet, at the very end.
    """
    try:
        if sys.argv[1:2] and sys.argv[1] in SENDS:
            from gevent import hub, monkey

            monkey.patch_all()
            hub.Hub.NOT_ERROR += (KeyboardInterrupt,)  # raise it in the main greenlet, print no traceback
        from llm_bench.cli import main as command_line

        status = command_line()
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    except KeyboardInterrupt:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        print("llm-bench: interrupted", file=sys.stderr)
        return 130
    return status


if __name__ == "__main__":
    raise SystemExit(main())
