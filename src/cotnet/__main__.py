"""`python -m cotnet`, the same as the command `cotnet`."""

import sys

from cotnet.cli import main

sys.exit(main())
