"""Which of vLLM's tests do not apply to our engine, and why. All others must pass."""

from __future__ import annotations

import re
from enum import StrEnum


class Applicability(StrEnum):
    PASSED = "passed"
    FAILED = "failed"
    NOT_APPLICABLE = "not applicable"


NEEDS_ITS_MODEL = "needs answers of the model that it names"
REASONS: dict[str, str] = {
    r"zephyr-lora|test_check_models": "LoRA adapters are not served",
    r"multimodal": "pictures are not read",
    r"test_metrics_exist\[": "takes a fixture that serves pictures",
    r"logprob_token_ids": "`logprob_token_ids` is refused by name",
    r"test_batch_completions": "beam search is refused by name",
    r"test_kv_transfer": "`kv_transfer_params` is refused by name",
    r"test_chat_completion_with_tool_use": "tool calls are not read out of answers",
    r"test_empty_prompt": "is about `prompt_embeds`, which is refused by name",
    r"test_show_version": "asserts vLLM's own version",
    r"test_server_load": "`/load` is not served; `/metrics` has the number of running requests",
    r"test_invocations": "SageMaker's `/invocations` is not served",
    r"test_long_seed": "asserts the name of pydantic's error type; ours says the same in words",
    r"test_token_in_token_out": "downloads from the hub while it runs",
    r"test_structured_outputs_(choice|json)_chat\b|test_response_format_json_": NEEDS_ITS_MODEL,
    r"test_single_chat_session|test_complex_message_content|test_more_than_one_prompt_logprobs_chat": NEEDS_ITS_MODEL,
    r"test_chat_session_with_echo|test_chat_session_root_path|emoji_and_token_ids": NEEDS_ITS_MODEL,
}
"""Pattern, searched for in a test's id, to the reason."""


def reason_against(test: str) -> str | None:
    """Return why the test does not apply, None if it does."""
    return next((reason for pattern, reason in REASONS.items() if re.search(pattern, test)), None)


def verdict(test: str, outcome: str) -> Applicability:
    """Return what a test's outcome means; one that does not apply may pass all the same."""
    if outcome == "passed":
        return Applicability.PASSED
    return Applicability.FAILED if reason_against(test) is None else Applicability.NOT_APPLICABLE
