"""`python -m logpi`: the command line."""

import sys

from logpi.cli.app import main

sys.exit(main())
