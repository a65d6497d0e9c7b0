"""Estimate the tokens of streams that ended before the server counted them.

A server that counts once, in a stream's last event, never counts a stream that was cut off. Its events with text are
no measure where an event holds several tokens: in a run that is cut short they would lose most of the work that was
done. They get the tokens per event of the streams that the server did count, up to what the request asked for.
"""

from __future__ import annotations

from collections.abc import Iterable

from llm_bench.measure.record import RequestRecord
from llm_bench.measure.stream import spread


def estimate_uncounted(records: Iterable[RequestRecord]) -> None:
    """Set the tokens of each stream that has text and no count; without any counted stream they stay its events."""
    answered = [record for record in records if record.text_events]
    counted = [record for record in answered if record.counted_by_server]
    events = sum(record.text_events for record in counted)
    tokens = sum(record.output_tokens for record in counted)
    for record in answered:
        if record.counted_by_server or not events or record.output_tokens != record.text_events:
            continue
        record.output_tokens = min(
            round(record.text_events * tokens / events), max(record.max_tokens, record.text_events)
        )
        if record.output_tokens != record.text_events:
            record.chunk_tokens = spread(record.output_tokens, record.chunk_tokens)
            record.tokens_located = False
