"""Samples in memory, and how every reader selects them.

selection   a series, label matchers, and `Source`, the one interface of all storage
page        one scrape of one target: a layout of series, and a vector of values
head        the recent samples of all targets
block       the recent samples of one target
"""

from llm_monitor.series.head import Head
from llm_monitor.series.page import Description, Layout, Page
from llm_monitor.series.selection import Labels, Matcher, Series, Source, labels_of

__all__ = ["Description", "Head", "Labels", "Layout", "Matcher", "Page", "Series", "Source", "labels_of"]
