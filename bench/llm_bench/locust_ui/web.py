"""A tab of locust's web UI: TTFT, TPOT and ITL as a table with percentiles to four digits, as charts, and as CSV.

It uses locust's documented hooks: template arguments for the tab and its table, Flask's after_request for the table's
data, a blueprint for the rest. Locust's tabs hold only tables, so a script that we add to the page shows the charts.
"""

from __future__ import annotations

import csv
import io
from importlib import resources
from typing import Any

from flask import Blueprint, Response, request

from llm_bench.locust_ui.charts import draw_charts
from llm_bench.locust_ui.history import History
from llm_bench.locust_ui.rows import COLUMNS, make_rows
from llm_bench.results.spreadsheet import quote_formula

TAB = "llm-bench"
TITLE = "TTFT, TPOT, ITL"


def add_tab(environment: Any, history: History) -> None:
    """Add the tab to the web UI of `environment`."""
    ui = environment.web_ui
    ui.template_args["extended_tabs"] = [{"title": TITLE, "key": TAB}]
    structure = [{"key": key, "title": title} for key, title in COLUMNS.items()]
    ui.template_args["extended_tables"] = [{"key": TAB, "structure": structure}]
    ui.template_args["extended_csv_files"] = [{"href": f"./{TAB}/csv", "title": f"Download {TITLE} CSV"}]
    ui.app.register_blueprint(_pages(environment, history))

    @ui.app.after_request  # type: ignore[untyped-decorator]
    def extend(response: Response) -> Response:
        if request.endpoint == "locust.request_stats" and response.json is not None:
            rows = [{"key": TAB, "data": make_rows(environment.stats)}]
            response.set_data(ui.app.json.dumps({**response.json, "extended_stats": rows}))
        elif request.endpoint == "locust.index" and response.mimetype == "text/html":
            script = f'<script src="./{TAB}/panel.js" defer></script></body>'
            response.set_data(response.get_data(as_text=True).replace("</body>", script))
        return response


def _pages(environment: Any, history: History) -> Blueprint:
    beneath = environment.web_ui.app.blueprints["locust"].url_prefix or ""  # --web-base-path
    pages = Blueprint(TAB, __name__, url_prefix=f"{beneath.rstrip('/')}/{TAB}")
    guarded = environment.web_ui.auth_required_if_enabled

    @pages.route("/charts")
    @guarded  # type: ignore[untyped-decorator]
    def charts() -> Response:
        return Response(draw_charts(list(history.points)), mimetype="text/html")

    @pages.route("/csv")
    @guarded  # type: ignore[untyped-decorator]
    def rows() -> Response:
        text = io.StringIO()
        writer = csv.DictWriter(text, COLUMNS)
        writer.writeheader()
        writer.writerows({**row, "name": quote_formula(row["name"])} for row in make_rows(environment.stats))
        headers = {"content-disposition": f"attachment; filename={TAB}.csv"}
        return Response(text.getvalue(), mimetype="text/csv", headers=headers)

    @pages.route("/<any('panel.js', 'panel.css'):name>")
    def panel(name: str) -> Response:
        kind = "text/javascript" if name.endswith(".js") else "text/css"
        return Response(resources.files("llm_bench.locust_ui").joinpath(name).read_text("utf-8"), mimetype=kind)

    return pages
