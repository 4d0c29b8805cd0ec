"""`python -m vdu`."""

import sys

from vdu.cli import main

sys.exit(main())
