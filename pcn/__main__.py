"""`python -m pcn`, also under `accelerate launch -m pcn`."""

import sys

from .cli import run

sys.exit(run())
