import sys

from llm_lab.cli import main

sys.exit(main())
