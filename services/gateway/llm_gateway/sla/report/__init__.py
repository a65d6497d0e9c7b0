from llm_gateway.sla.report.page import render_page

__all__ = ["render_page"]
