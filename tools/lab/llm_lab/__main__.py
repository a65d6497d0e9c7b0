import signal
import sys


def main() -> int:
    """Run the command line. An interrupt prints one line at any moment, also during imports."""
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
