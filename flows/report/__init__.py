"""The run's last word: the morning page, and the few lines at the end of ``nightshift run``."""

from flows.report.page import write_page
from flows.report.terminal import print_summary

__all__ = ["print_summary", "write_page"]
