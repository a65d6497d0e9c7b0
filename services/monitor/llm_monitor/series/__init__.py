"""Samples in memory, and how every reader selects them.

selection   a series, label matchers, and `Source`, the one interface of all storage
"""

from llm_monitor.series.selection import Labels, Matcher, Series, Source, labels_of

__all__ = ["Labels", "Matcher", "Series", "Source", "labels_of"]
