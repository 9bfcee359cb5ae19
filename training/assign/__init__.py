"""Which prediction cells are trained towards which target: candidates, SimOTA, guided assignment."""

from training.assign.candidates import COARSE_REACH, FINE_REACH, Cells, Pyramid, find_candidates, send
from training.assign.guided import LIMIT, LIMIT_WITH_AUXILIARY, assign_guided

__all__ = [
    "COARSE_REACH",
    "FINE_REACH",
    "LIMIT",
    "LIMIT_WITH_AUXILIARY",
    "Cells",
    "Pyramid",
    "assign_guided",
    "find_candidates",
    "send",
]
