"""Which prediction cells are trained towards which target: candidates, SimOTA, lead-guided assignment."""

from training.assign.candidates import COARSE_REACH, FINE_REACH, Cells, Pyramid, find_candidates
from training.assign.lead import assign_lead_guided

__all__ = ["COARSE_REACH", "FINE_REACH", "Cells", "Pyramid", "assign_lead_guided", "find_candidates"]
