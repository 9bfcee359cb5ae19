"""The measuring programs of bench/ import one another by name, as they do when run."""

import sys
from pathlib import Path

BENCH = Path(__file__).resolve().parents[2] / "bench"

sys.path.append(str(BENCH))
