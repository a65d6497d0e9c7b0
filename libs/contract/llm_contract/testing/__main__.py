"""A scripted engine as a process of its own; its URL is the first line it prints. Times are seconds.

python -m llm_contract.testing --port 0 --ttft 0.25 --gaps 0.4,0.1 --tokens-per-chunk 1,3
"""

from __future__ import annotations

import argparse
import asyncio
import signal
from contextlib import suppress

import uvloop

from llm_contract.testing.script import Script
from llm_contract.testing.scripted_engine import HOST, ScriptedEngine


def main() -> None:
    arguments = _parse()
    uvloop.run(_serve(arguments))


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m llm_contract.testing", description=__doc__)
    defaults = Script()
    parser.add_argument("--host", default=HOST)
    parser.add_argument("--port", type=int, default=0, help="0: any free port")
    parser.add_argument("--model", default=defaults.model)
    parser.add_argument("--load-seconds", type=float, default=0.0, help="wait before it listens, as for weights")
    parser.add_argument("--ttft", type=float, default=defaults.ttft, help="start to first chunk")
    parser.add_argument("--gaps", type=_floats, default=defaults.gaps, help="between chunks, cycled: 0.4,0.1")
    parser.add_argument("--tokens-per-chunk", type=_ints, default=defaults.tokens_per_chunk, help="cycled: 1,3")
    parser.add_argument("--prefill", type=float, default=defaults.prefill, help="per prompt token that is not cached")
    parser.add_argument("--prefix-blocks", type=int, default=defaults.prefix_blocks, help="prefix cache; 0: none")
    parser.add_argument("--max-running", type=int, default=defaults.max_running, help="0: no limit")
    parser.add_argument("--kv-tokens", type=int, default=defaults.kv_tokens, help="size of the KV cache; 0: no limit")
    parser.add_argument("--scheduling", choices=("fcfs", "priority"), default=defaults.scheduling)
    parser.add_argument("--max-model-len", type=int, default=defaults.max_model_len)
    parser.add_argument("--die-after-chunks", type=int, help="reset each stream's connection after this many chunks")
    return parser.parse_args()


async def _serve(arguments: argparse.Namespace) -> None:
    script = Script(
        model=arguments.model,
        ttft=arguments.ttft,
        gaps=arguments.gaps,
        tokens_per_chunk=arguments.tokens_per_chunk,
        max_running=arguments.max_running,
        kv_tokens=arguments.kv_tokens,
        scheduling=arguments.scheduling,
        max_model_len=arguments.max_model_len,
        prefill=arguments.prefill,
        prefix_blocks=arguments.prefix_blocks,
    )
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    with suppress(TimeoutError):
        await asyncio.wait_for(stop.wait(), arguments.load_seconds)
    if stop.is_set():
        return
    async with ScriptedEngine(script, host=arguments.host, port=arguments.port, keep_records=False) as engine:
        engine.die_after_chunks = arguments.die_after_chunks
        print(engine.url, flush=True)
        await stop.wait()


def _floats(text: str) -> tuple[float, ...]:
    return tuple(float(part) for part in text.split(","))


def _ints(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split(","))


if __name__ == "__main__":
    main()
