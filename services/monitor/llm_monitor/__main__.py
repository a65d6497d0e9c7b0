"""`python -m llm_monitor`."""

from llm_monitor.cli import main

if __name__ == "__main__":
    main()
