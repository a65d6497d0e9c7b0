"""The dashboard as data: panels of PromQL, from which the page, Grafana's boards and the checks are made.

panel      a panel, its queries, and how a viewer's filters get into them
metrics    every metric that a panel may name: those of engines, gateway, router, GPUs and the monitor itself
shorthand  the few forms of PromQL that most panels have
catalog    the boards, in the order of the page's navigation
check      no panel names a metric or a label that no target exports, and none stays empty on a recorded run
grafana    the same boards for Grafana
"""

from llm_monitor.boards.catalog import BOARDS, board
from llm_monitor.boards.panel import Board, Choice, Panel, Query, Section

__all__ = ["BOARDS", "Board", "Choice", "Panel", "Query", "Section", "board"]
