"""One reader for recorded loads: when each request arrived, and how long its prompt and its answer were.

    trace = read_trace(Path("AzureLLMInferenceTrace_conv.csv.gz"))
    trace.rows[0].at, trace.rows[0].prompt_tokens, trace.rows[0].output_tokens

Formats are in `formats`, times of day in `clock`. The package imports nothing of this repository.
"""

from llm_traces.reader import read_trace
from llm_traces.rows import MOONCAKE_BLOCK, BadRowError, RequestTrace, TraceError, TraceRow

__all__ = ["MOONCAKE_BLOCK", "BadRowError", "RequestTrace", "TraceError", "TraceRow", "read_trace"]
