"""Loads whose answers are wrong: each is compared with the answer that an idle engine gives."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from llm_course.fault_loads.client import PREEMPTIONS, RUNNING, USAGE, WAITING, Client, Prompt, Seen, drawn

EMOJI = ("🙂", "😀", "🎉", "🚀", "🦜", "🪴", "🫠", "🧿", "🥷", "🪿", "ü", "語")


def differing(before: Sequence[str | None], after: Sequence[str | None]) -> str:
    wrong = sum(one != other for one, other in zip(before, after, strict=True))
    return f"{wrong} of {len(before)}"


async def shared_prompt(client: Client) -> Seen:
    """Share a long prompt between a short and a long answer, then fill the cache with other prompts."""
    prompt, most = drawn(400, 1), 0.0
    others: list[Prompt] = [drawn(400, seed) for seed in range(10, 50)]
    idle = await client.text(prompt, 400)

    async def press() -> None:
        await client.text(prompt, 2)
        await client.all(others, [16] * len(others))

    async def watch() -> None:
        nonlocal most
        while True:
            most = max(most, await client.metric(USAGE))
            await asyncio.sleep(0.05)

    watching = asyncio.create_task(watch())
    busy, _ = await asyncio.gather(client.text(prompt, 400), press())
    watching.cancel()
    return {"answers that differ from an idle engine's": differing([idle], [busy]), f"highest {USAGE}": round(most, 2)}


async def long_prompt(client: Client) -> Seen:
    """Send long prompts while short requests take a part of each step's token budget."""
    prompts: list[Prompt] = [drawn(1900, seed) for seed in range(1, 4)]
    shorts: list[Prompt] = [drawn(20, seed) for seed in range(10, 31)]
    idle = await client.each(prompts, [32] * 3)
    alone = await client.each(shorts, [200] * len(shorts))
    short = asyncio.create_task(client.all(shorts, [200] * len(shorts)))
    await client.until(lambda metrics: metrics.get(RUNNING) == len(shorts))
    busy = await client.all(prompts, [32] * 3)
    return {
        "long prompts whose answer differs": differing(idle, busy),
        "short prompts whose answer differs": differing(alone, await short),
    }


async def different_lengths(client: Client) -> Seen:
    """Send sixteen generations of 60 to 400 tokens at once."""
    return await _together(client, [drawn(6, seed) for seed in range(16)], [60 + 340 * i // 15 for i in range(16)])


async def same_prompt_again(client: Client) -> Seen:
    """Send a prompt, forty others, and the first again, twice."""
    prompt: Prompt = drawn(400, 1)
    first = await client.text(prompt, 40)
    await client.all([drawn(400, seed) for seed in range(10, 50)], [16] * 40)
    again = await client.each([prompt, prompt], [40, 40])
    return {
        "answers to the same prompt that differ from the first": differing([first, first], again),
        "the last two": "are the same" if again[0] == again[1] else "differ",
    }


async def six_long(client: Client) -> Seen:
    """Send six long generations at once."""
    return await _together(client, [drawn(6, seed) for seed in range(6)], [600] * 6)


async def emoji(client: Client) -> Seen:
    """Have the engine write given characters, one a request."""
    texts = await asyncio.gather(
        *(client.text("# ", 8, ignore_eos=False, structured_outputs={"choice": [each]}) for each in EMOJI)
    )
    return {
        "right": "".join(wanted for wanted, text in zip(EMOJI, texts, strict=True) if text == wanted),
        "broken": "".join(wanted for wanted, text in zip(EMOJI, texts, strict=True) if text != wanted),
        "arrived as": next((str(text) for wanted, text in zip(EMOJI, texts, strict=True) if text != wanted), ""),
    }


async def several_answers(client: Client) -> Seen:
    """Ask for three answers of one token to prompts of 49 and of 40 tokens: the first ends before the others begin."""
    prompts: list[Prompt] = [drawn(49, 1), drawn(40, 2)]
    idle = await client.each(prompts, [1, 1])
    seen: Seen = {}
    for prompt, right in zip(prompts, idle, strict=True):
        texts = await client.texts(prompt, 1, n=3)
        seen[f"answers to {len(prompt)} tokens that differ from an idle engine's"] = (
            differing([right] * 3, texts) if texts else "none came"
        )
        seen[WAITING] = await client.metric(WAITING)
    return seen


async def _together(client: Client, prompts: Sequence[Prompt], lengths: Sequence[int]) -> Seen:
    idle = await client.each(prompts, lengths)
    before = await client.metric(PREEMPTIONS)
    together = await client.all(prompts, lengths)
    return {
        "answers that differ from an idle engine's": differing(idle, together),
        "preemptions": await client.metric(PREEMPTIONS) - before,
    }
