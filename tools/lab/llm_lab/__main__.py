import signal
import sys


def main() -> int:
    """An interrupt at any moment is one line, during imports as well."""
    try:
        from llm_lab.cli import main as command_line

        status = command_line()
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    except KeyboardInterrupt:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        print("lab: interrupted", file=sys.stderr)
        return 130
    return status


if __name__ == "__main__":
    sys.exit(main())
