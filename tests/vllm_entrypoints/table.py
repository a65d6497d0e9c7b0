"""Print the results of vLLM's own tests as tables for this folder's README."""

from __future__ import annotations

import json
import sys
from collections import Counter, defaultdict
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from vllm_entrypoints.applicability import NEEDS_ITS_MODEL, Applicability, reason_against, verdict  # noqa: E402

RESULTS = HERE / "results"


def main() -> None:
    ours = json.loads((RESULTS / "llm-engine.json").read_text())
    theirs = json.loads((RESULTS / "vllm.json").read_text())
    verdicts: dict[str, Counter[Applicability]] = defaultdict(Counter)
    reasons: dict[str, list[str]] = defaultdict(list)
    for test, (outcome, error) in ours.items():
        file, _, name = test.partition("::")
        found = verdict(test, outcome)
        verdicts[file][found] += 1
        if found is Applicability.NOT_APPLICABLE:
            reasons[reason_against(test) or ""].append(name)
        if found is Applicability.FAILED:
            reasons[f"failed: {error}"].append(name)
    print("| file | passed | failed | not applicable |\n| --- | --: | --: | --: |")
    for file, count in sorted(verdicts.items()):
        print(f"| {file} | " + " | ".join(str(count[kind]) for kind in Applicability) + " |")
    total = sum(verdicts.values(), Counter())
    print("| **all** | " + " | ".join(f"**{total[kind]}**" for kind in Applicability) + " |\n")
    print("| reason | tests |\n| --- | --- |")
    for reason, names in sorted(reasons.items(), key=lambda item: -len(item[1])):
        print(f"| {reason} | {_listed(names)} |")
    needing = [test for test, (outcome, _) in ours.items() if verdict(test, outcome) is Applicability.NOT_APPLICABLE]
    needing = [test for test in needing if reason_against(test) == NEEDS_ITS_MODEL]
    failing = sum(theirs.get(test, ["passed"])[0] != "passed" for test in needing)
    print(f"\nvLLM itself fails {failing} of the {len(needing)} tests that need the model that they name.")


def _listed(names: list[str]) -> str:
    functions = Counter(name.partition("[")[0] for name in names)
    return ", ".join(f"`{name}`" + (f" ({count} times)" if count > 1 else "") for name, count in functions.items())


if __name__ == "__main__":
    main()
