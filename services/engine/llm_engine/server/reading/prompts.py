"""From a request model to submissions: token ids and sampling parameters."""

from __future__ import annotations

from llm_contract.errors import ApiError, ErrorKind
from llm_engine.checkpoint.tokenizer import AnyTokenizer
from llm_engine.errors import RequestError
from llm_engine.request.check import RequestCheck
from llm_engine.sampling.params import SamplingParams
from llm_engine.server.reading.rendering import render_chat, tokenizable, truncate
from llm_engine.server.reading.requests import EngineChatRequest, EngineCompletionRequest
from llm_engine.server.reading.submission import Submission

MAX_ANSWERS = 1024
"""Most answers to one request: prompts times n."""


def completion_submissions(
    tokenizer: AnyTokenizer, check: RequestCheck, body: EngineCompletionRequest
) -> list[Submission]:
    """Return one submission per prompt. RequestError if the request cannot be served."""
    if body.max_tokens == 0 and not body.echo:
        raise RequestError(
            "max_tokens is 0; it must be at least 1, or echo must be set to score the prompt", "max_tokens"
        )
    params = sampling_params(body, None if body.max_tokens is None else max(body.max_tokens, 1))
    prompts = _as_list(body.prompt)
    if len(prompts) * body.n > MAX_ANSWERS:
        asked = f"{len(prompts)} prompts with {body.n} answers each"
        raise RequestError(f"{asked} are too many; one request can have {MAX_ANSWERS} answers", "prompt")
    submissions = []
    for prompt in prompts:
        ids, pieces = _prompt_ids(tokenizer, check, prompt, body)
        ids = truncate(ids, body, check.max_model_len)
        pieces = None if pieces is None else truncate(pieces, body, check.max_model_len)
        submissions.append(Submission(ids, params, pieces))
    return submissions


def chat_submission(
    tokenizer: AnyTokenizer, check: RequestCheck, body: EngineChatRequest, trust_template: bool
) -> tuple[Submission, str]:
    """Return the submission and the text of its prompt. RequestError if the request cannot be served."""
    asked = body.max_tokens if body.max_completion_tokens is None else body.max_completion_tokens
    params = sampling_params(body, asked)
    text, ids = render_chat(tokenizer, check, body, trust_template=trust_template)
    return Submission(truncate(ids, body, check.max_model_len), params), text


def sampling_params(body: EngineCompletionRequest | EngineChatRequest, max_tokens: int | None) -> SamplingParams:
    """Return the sampling parameters of a request. Null means vLLM's default."""
    if body.stream and body.prompt_logprobs:
        raise RequestError("prompt_logprobs are not streamed; leave out stream or prompt_logprobs", "prompt_logprobs")
    return SamplingParams(
        temperature=1.0 if body.temperature is None else body.temperature,
        top_p=1.0 if body.top_p is None else body.top_p,
        top_k=body.top_k or 0,
        min_p=body.min_p or 0.0,
        seed=body.seed,
        max_tokens=max_tokens,
        min_tokens=body.min_tokens,
        stop=tuple(body.stop_strings()),
        stop_token_ids=tuple(body.stop_token_ids or ()),
        ignore_eos=body.ignore_eos,
        include_stop_str_in_output=body.include_stop_str_in_output,
        skip_special_tokens=body.skip_special_tokens,
        n=body.n,
        logprobs=body.num_logprobs,
        prompt_logprobs=body.num_prompt_logprobs,
        repetition_penalty=1.0 if body.repetition_penalty is None else body.repetition_penalty,
        presence_penalty=body.presence_penalty or 0.0,
        frequency_penalty=body.frequency_penalty or 0.0,
        logit_bias=body.logit_bias or {},
        allowed_token_ids=None if body.allowed_token_ids is None else tuple(body.allowed_token_ids),
        bad_words=tuple(body.bad_words or ()),
        structured=body.structured(),
    )


def _prompt_ids(
    tokenizer: AnyTokenizer, check: RequestCheck, prompt: str | list[int], body: EngineCompletionRequest
) -> tuple[list[int], list[str] | None]:
    """Return the prompt's tokens and, with `echo`, the piece of text that each token covers."""
    if not prompt:
        raise ApiError(ErrorKind.INVALID_REQUEST, "prompt is empty; it must hold at least one token", param="prompt")
    if isinstance(prompt, str):
        text = tokenizable(prompt, body, check, tokenizer.longest_token)
        if body.echo:
            return tokenizer.split(text, body.add_special_tokens)
        return tokenizer.encode(text, body.add_special_tokens), None
    prompt = truncate(prompt, body, check.max_model_len)
    check.check_prompt(prompt)
    return prompt, tokenizer.pieces(prompt) if body.echo else None


def _as_list(prompt: str | list[int] | list[str] | list[list[int]]) -> list[str | list[int]]:
    """Return a list of prompts, given a text, its token ids, or a list of either."""
    if isinstance(prompt, str):
        return [prompt]
    tokens = [item for item in prompt if isinstance(item, int)]
    return [tokens] if tokens or not prompt else [item for item in prompt if not isinstance(item, int)]
