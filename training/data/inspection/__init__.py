"""The check of a data set: all that is wrong with it, how its classes and sizes lie, and a page with pictures."""

from training.data.inspection.finding import KINDS, Finding, Severity
from training.data.inspection.inspect import Inspection, inspect
from training.data.inspection.page import write_page
from training.data.inspection.summary import print_summary

__all__ = ["KINDS", "Finding", "Inspection", "Severity", "inspect", "print_summary", "write_page"]
