"""`python -m llm_deploy` is `./lab images`, `./lab compose`, `./lab cluster`, `./lab drill` and `./lab ready`."""

import sys

from llm_deploy.cli import main

sys.exit(main())
