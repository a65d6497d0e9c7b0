"""Print the committed reports of hostile requests as a table for this folder's README."""

from __future__ import annotations

import json
from pathlib import Path

RESULTS = Path(__file__).resolve().parent / "results" / "20000.json"
COLUMNS = ("server", "requests", "200", "refused", "faults", "steady streams", "gap P50", "P99.9", "worst", "before")


def main() -> None:
    print(f"| {' | '.join(COLUMNS)} |\n| --- {'| --: ' * (len(COLUMNS) - 1)}|")
    for server, report in json.loads(RESULTS.read_text()).items():
        answered = report["statuses"].get("200", 0)
        refused = sum(report["statuses"].values()) - answered
        gaps = (report[f"{name}_seconds"] for name in ("gap_p50", "gap_p999", "gap_worst", "quiet_gap_worst"))
        counts = (report["requests"], answered, refused, len(report["faults"]), report["steady_streams"])
        cells = (server, *(f"{count:,}" for count in counts), *(f"{gap * 1e3:.0f} ms" for gap in gaps))
        print(f"| {' | '.join(cells)} |")
    print("\nGaps are between two events of the steady stream; `before` is the worst without hostile requests.")


if __name__ == "__main__":
    main()
