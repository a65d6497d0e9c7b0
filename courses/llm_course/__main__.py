import sys

from llm_course.cli import main

if __name__ == "__main__":
    sys.exit(main())
