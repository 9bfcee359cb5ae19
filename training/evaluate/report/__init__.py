"""The report of a model or of a run as one HTML file."""

from training.evaluate.report.page import write_page
from training.evaluate.report.run import describe, describe_service, write_report
from training.evaluate.report.subject import Subject

__all__ = ["Subject", "describe", "describe_service", "write_page", "write_report"]
