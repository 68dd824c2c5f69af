"""`python -m managedchart_operator` is the same as the console script."""

import sys

from managedchart_operator.app.cli import main

sys.exit(main())
