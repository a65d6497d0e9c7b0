"""Markdown of what the benchmarks found, for the pages: `./lab pages` puts it there.

python services/engine/benchmarks/figures.py speculation
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from llm_report.markdown import table

RESULTS = Path(__file__).resolve().parents[1] / "results"
Found = dict[str, Any]


def main() -> int:
    name = sys.argv[1]
    paths = sorted(RESULTS.glob(f"{name}*.json"), key=lambda path: (not path.stem.endswith("before"), path.stem))
    found = [json.loads(path.read_text(encoding="utf-8")) for path in paths]
    print(OF_SEVERAL_CARDS[name](found) if name in OF_SEVERAL_CARDS else PAGES[name](found[0]))
    return 0


def cpu_against_transformers(found: Found) -> str:
    rows = [
        (batch, way, *_rate(figures)) for batch in ("batch_1", "batch_16") for way, figures in _contenders(found[batch])
    ]
    return f"{table(('', 'way', *RATE), rows, left=2)}\n\n{_on(found)}"


def cpu_linears(found: Found) -> str:
    rows = [(batch, way, *_rate(found[batch][way])) for batch in ("batch_1", "batch_16") for way in found[batch]]
    return f"{table(('', 'layout', *RATE), rows, left=2)}\n\n{_on(found)}"


def cpu_llama_cpp(runs: list[Found]) -> str:
    """Return one table per run: wall time of two threads, processor time of one."""
    header = ("", "way", "MB a step", "tokens/s", "range", "compared with 16 bits", "compared with llama.cpp", "range")
    return "\n\n".join(
        f"{table(header, (row for batch in _batches(found) for row in _quantised(found, batch)), left=2)}\n\n"
        f"{found['threads']} thread{'s' * (found['threads'] > 1)}, {found['clock']} clock. {_on(found)}"
        for found in runs
    )


def gpu_quantized(found: Found) -> str:
    """Return a row for each batch size: ms a token, and how much faster than 16 bits."""
    names = [name for name in found["rows"][0]["seconds_per_token"] if name != found["original"]]
    header = ("batch", "16 bits", *names, *(f"{name}, faster" for name in names))
    rows = [
        (
            str(row["batch"]),
            *(f"{row['seconds_per_token'][name] * 1e3:.2f} ms" for name in (found["original"], *names)),
            *(f"{row['speedup'][name]:.2f}×" for name in names),
        )
        for row in found["rows"]
    ]
    return f"{table(header, rows)}\n\n{_on(found)}"


def _batches(found: Found) -> list[str]:
    return [name for name in found if name.startswith("batch_")]


def _quantised(found: Found, batch: str) -> Iterator[tuple[str, ...]]:
    for way, item in found[batch].items():
        peer = next((item[key] for key in item if key.startswith("ratio_to_llama_cpp")), None)
        low, high = item["range"]
        span = "" if peer is None else "{:.3g}-{:.3g}×".format(*item["peer_ratio_range"])
        yield (
            *(batch, way, f"{found['weight_megabytes_per_step'][way]:.0f}", f"{item['tokens_per_second']:,.0f}"),
            *(f"{low:,.0f}-{high:,.0f}", f"{item['ratio_to_bfloat16']:.3g}×"),
            *("" if peer is None else f"{peer:.3g}×", span),
        )


def cpu_profile(found: Found) -> str:
    cases = found["milliseconds_per_step"]
    parts = next(iter(cases.values()))
    rows = [(part, *(figures[part] for figures in cases.values())) for part in parts]
    return f"{table(('ms a step', *cases), rows)}\n\n{_on(found)}"


def speculation(found: Found) -> str:
    rows = []
    for temperature in ("temperature_0", "temperature_1"):
        for way, figures in found[temperature].items():
            rows.append((temperature, way, *_rate(figures), figures.get("tokens_per_verification", "")))
    return f"{table(('', 'way', *RATE, 'tokens a verification'), rows, left=2)}\n\n{_on(found)}"


def gpu_draft_model(cards: list[Found]) -> str:
    """Return a row for each pair, setting and number of guesses, and below it the times of the graphs alone."""
    header = ("pair", "", "way", *RATE, "tokens a verification", "first guess accepted")
    rows, times = [], []
    for pair, settings in ((pair, settings) for found in cards for pair, settings in found["pairs"].items()):
        for setting, ways in settings.items():
            if setting == "device":
                times += [(pair, way, *(f"{item[part]:.2f}" for part in GRAPHS)) for way, item in ways.items()]
                continue
            for way, item in ways.items():
                accepted = item.get("acceptance_by_position", [""])[0]
                rows.append((pair, setting, way, *_rate(item), item.get("tokens_per_verification", ""), accepted))
    heads = ("pair", "way", *(f"{part.replace('_', ' ')}, ms" for part in GRAPHS))
    return "\n\n".join((table(header, rows, left=3), table(heads, times, left=2), *map(_on, cards)))


def preemption(found: Found) -> str:
    ways = [(way, *_rate(item), item["preemptions_per_run"]) for way, item in _contenders(found)]
    return f"{table(('way', *RATE, 'preemptions'), ways)}\n\n{_on(found)}"


def continuous_batching(found: Found) -> str:
    ways = [(way, *_rate(item)) for way, item in _contenders(found)]
    ratio = found["continuous"]["ratio_to_static_same_size"]
    return f"{table(('way', *RATE), ways)}\n\nCompared with static batches of the same size: {ratio:.3g}×. {_on(found)}"


def tracing(found: Found) -> str:
    speed, cpu = found["tokens_per_second"], found["cpu_us_per_token"]
    low, high = speed["range"]
    return (
        f"With every request traced the {found['model']} engine wrote {speed['ratio']:.3f} times the tokens per second "
        f"(rounds from {low:.2f} to {high:.2f}) and used {cpu['ratio']:.3f} times the CPU time per token: "
        f"{found['rounds']} rounds in turn, {found['connections']} connections, {found['max_tokens']} tokens each. "
        f"{_on(found)}"
    )


def gpu_batching(found: Found) -> str:
    ways = [
        (way, f"{item['output_tokens_per_second']:,.0f}", f"{item['ratio_to_static']:.3g}×")
        for way, item in _contenders(found)
    ]
    return f"{table(('way', 'tokens/s', 'ratio'), ways)}\n\n{_on(found)}"


def kv_memory(found: Found) -> str:
    """Where the slots of the KV memory go while requests wait, by how a sequence is placed."""
    head = ("placed", "sequences", "tokens", "reserved", "never used", "free", "steps", "preemptions")
    ways = [
        (
            *(way, f"{found[way]['sequences']:.0f}"),
            *(f"{100 * found[way][part]:.0f}%" for part in ("holds_tokens", "reserved", "internal", "free")),
            *(f"{found[way]['steps']:,}", str(found[way]["preemptions"])),
        )
        for way in ("longest", "exact", "paged")
    ]
    return table(head, ways)


def prefix_caching(found: Found) -> str:
    rows = []
    for way, item in _contenders(found):
        low, high = item["range"]
        seconds = f"{item['median_ttft_seconds'] * 1e3:.1f} ms"
        rows.append(
            (way, seconds, f"{low * 1e3:.1f}-{high * 1e3:.1f}", f"{item['ratio_to_off']:.2g}×", item["hit_rate"])
        )
    return f"{table(('cache', 'median TTFT', 'range, ms', 'ratio', 'hit rate'), rows)}\n\n{_on(found)}"


def leaks(found: Found) -> str:
    rows = []
    for way, item in found.items():
        if isinstance(item, dict):
            resident = item["resident_mib"]
            rows.append(
                (
                    way,
                    item["aborts"],
                    item["preemptions"],
                    item["all_blocks_back"],
                    f"{resident[0]} -> {resident[-1]} MiB",
                )
            )
    requests = f"{found['requests']:,} requests"
    return f"{table((requests, 'aborts', 'preemptions', 'all blocks back', 'resident set'), rows)}\n\n{_on(found)}"


def gpu_throughput(cards: list[Found]) -> str:
    header = (
        "shape",
        "card",
        "commit",
        "tokens/s",
        "of vLLM's",
        "runs",
        "ms a token, batch 1",
        "of vLLM's",
        "bandwidth",
    )
    rows = [
        (
            item["shape"],
            found["device"],
            found["commit"],
            f"{item['output_tokens_per_second']:,.0f}",
            f"{item['ratio_to_vllm_throughput']:.0%}",
            len(item["runs"]),
            f"{item['tpot_bs1_seconds'] * 1e3:.2f}",
            f"{item['ratio_to_vllm_tpot']:.0%}",
            f"{item['bandwidth_utilisation_bs1']:.0%}",
        )
        for shape in ("qwen3-0.6b", "llama3-8b")
        for found in cards
        for item in found["shapes"]
        if item["shape"] == shape
    ]
    copies = {f"{found['device']}: {found['copy_bytes_per_second'] / 1e12:.2f} TB/s" for found in cards}
    rest = "bandwidth: the weights' bytes over the time of a token at batch 1, compared with a copy"
    return f"{table(header, rows, left=3)}\n\nvLLM's: vLLM 0.26.0 on one H200; {rest} ({', '.join(sorted(copies))})."


def gpu_vllm(cards: list[Found]) -> str:
    """Return vLLM's figures next to ours on the same card, from `gpu_throughput`."""
    header = ("shape", "card", "engine, tokens/s", "vLLM", "ratio", "engine, ms a token at batch 1", "vLLM", "ratio")
    rows, measured = [], []
    for theirs in cards:
        name = theirs["benchmark"].replace("gpu_vllm", "gpu_throughput")
        ours = json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))
        measured.append(_on({**theirs, "torch": f"{theirs['torch']}, vLLM {theirs['shapes'][0]['vllm']}"}))
        for engine, vllm in zip(ours["shapes"], theirs["shapes"], strict=True):
            rates = [item["output_tokens_per_second"] for item in (engine, vllm)]
            tpots = [item["tpot_bs1_seconds"] * 1e3 for item in (engine, vllm)]
            cells = (f"{rates[0]:,.0f}", f"{rates[1]:,.0f}", f"{rates[0] / rates[1]:.3g}×")
            ends = (f"{tpots[0]:.2f}", f"{tpots[1]:.2f}", f"{tpots[0] / tpots[1]:.2g}×")
            rows.append((engine["shape"], theirs["device"], *cells, *ends))
    return f"{table(header, rows, left=2)}\n\n{' '.join(measured)}"


def gpu_parallel(runs: list[Found]) -> str:
    """Return a row for each shape, number of GPUs and state of the engine, and vLLM's rows."""
    header = ("shape", "GPUs", "", "tokens/s", "of one GPU's", "ms a token, batch 1", "of one GPU's", "batch 64")
    rows = []
    for found in sorted(runs, key=lambda run: "vllm" in run["shapes"][0]):
        for item in found["shapes"]:
            ratios = item.get("ratio_to_one_rank") or {}
            rate, alone, together = ("output_tokens_per_second", "tpot_bs1_seconds", "tpot_bs64_seconds")
            who = f"vLLM {item['vllm']}" if "vllm" in item else found["change"]
            rows.append(
                (
                    *(item["shape"], str(item["tensor_parallel_size"]), who, f"{item[rate]:,.0f}"),
                    *(f"{ratios[rate]:.3g}×" if rate in ratios else "", f"{item[alone] * 1e3:.2f}"),
                    f"{ratios[alone]:.3g}×" if alone in ratios else "",
                    f"{item[together] * 1e3:.2f}" if together in item else "",
                )
            )
    return f"{table(header, rows, left=3)}\n\n{_on(runs[0])}"


def gpu_profile(cards: list[Found]) -> str:
    parts = list(cards[0]["shapes"]["qwen3-0.6b"]["batch_1"]["groups_milliseconds"])
    header = ("shape", "step of", "card", "commit", *parts, "launches", "ms a step", "host")
    rows = []
    for shape in ("qwen3-0.6b", "llama3-8b"):
        for batch in ("batch_1", "batch_256", "prompts"):
            for found in cards:
                item = found["shapes"][shape].get(batch)
                if item is None:
                    continue
                groups, floors = item["groups_milliseconds"], item.get("floor_milliseconds", {})
                cells = [
                    f"{groups[part]:.2f}{f' (at least {floors[part]:.2f})' if part in floors else ''}" for part in parts
                ]
                ends = (f"{item['launches']:.0f}", f"{item['step_milliseconds']:.2f}", _milliseconds(item, "host"))
                rows.append((shape, batch, found["device"].split()[1], found["commit"], *cells, *ends))
    return table(header, rows, left=4)


def _milliseconds(item: Found, name: str) -> str:
    value = item.get(f"{name}_milliseconds")
    return "" if value is None else f"{value:.2f}"


def gpu_parity(found: Found) -> str:
    header = ("model", "tokens of", "engine", "transformers", "of the bar", "float32 answers equal: torch, triton")
    rows = []
    for model, item in found["models"].items():
        equal = item["float32_equal_tokens"]
        for part in ("text", "decodes"):
            cells = (f"{item[part][who]:.4f}" for who in ("engine", "transformers"))
            rows.append(
                (model, part, *cells, f"{item[part]['ratio_to_bar']:.0%}", f"{equal['torch']}, {equal['triton']}")
            )
    return f"{table(header, rows, left=2)}\n\n{_on(found)}"


OF_SEVERAL_CARDS: dict[str, Callable[[list[Found]], str]] = {
    "cpu_llama_cpp": cpu_llama_cpp,
    "gpu_draft_model": gpu_draft_model,
    "gpu_parallel": gpu_parallel,
    "gpu_profile": gpu_profile,
    "gpu_throughput": gpu_throughput,
    "gpu_vllm": gpu_vllm,
}
PAGES: dict[str, Callable[[Found], str]] = {
    "continuous_batching": continuous_batching,
    "cpu_linears": cpu_linears,
    "cpu_profile": cpu_profile,
    "cpu_against_transformers": cpu_against_transformers,
    "gpu_batching": gpu_batching,
    "kv_memory": kv_memory,
    "gpu_parity": gpu_parity,
    "gpu_quantized": gpu_quantized,
    "gpu_speculation": speculation,
    "leaks": leaks,
    "preemption": preemption,
    "prefix_caching": prefix_caching,
    "speculation": speculation,
    "tracing": tracing,
}
RATE = ("tokens/s", "range", "ratio")
GRAPHS = ("draft_round", "verification", "drafts_and_verification", "drafts_and_verification_drawn")


def _contenders(found: Found) -> Iterable[tuple[str, Found]]:
    return ((name, item) for name, item in found.items() if isinstance(item, dict))


def _rate(figures: Found) -> tuple[str, str, str]:
    ratio = next(value for key, value in figures.items() if key.startswith("ratio_to_"))
    low, high = figures["range"]
    return f"{figures['output_tokens_per_second']:,.0f}", f"{low:,.0f}-{high:,.0f}", f"{ratio:.3g}×"


def _on(found: Found) -> str:
    date = f"{found['date']}, " if "date" in found else ""
    busy = found.get("cores_busy_with_others")
    others = "" if busy is None else f"; others kept {busy} cores busy"
    return f"Measured on {found['device']}, {date}torch {found['torch']}{others}."


if __name__ == "__main__":
    sys.exit(main())
