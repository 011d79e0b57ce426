"""`python -m lyra`, also under `accelerate launch -m lyra`."""

import sys

from .cli import run

sys.exit(run())
