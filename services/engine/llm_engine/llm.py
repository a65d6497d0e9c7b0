"""Offline use, like vLLM's class of the same name.

from llm_engine import LLM, SamplingParams

for completion in LLM("models/main").generate(["def fibonacci(n):"], SamplingParams(temperature=0)):
    print(completion.text)
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tqdm import tqdm

from llm_engine.engine import Engine
from llm_engine.request.outputs import Completion, CompletionOutput, RequestOutput
from llm_engine.sampling.params import SamplingParams
from llm_engine.settings import EngineConfig

Prompt = str | list[int]


class LLM:
    """A model for offline use."""

    def __init__(self, model: str, **settings: Any) -> None:
        """Load the model. `settings` are the fields of EngineConfig. ModelError if it cannot be served."""
        self.engine = Engine(EngineConfig(model=model, **settings))

    def generate(
        self,
        prompts: Prompt | Sequence[Prompt],
        params: SamplingParams | Sequence[SamplingParams] | None = None,
        use_tqdm: bool = True,
    ) -> list[Completion]:
        """Return one completion per prompt (text or token ids), in the same order.

        RequestError, before anything is computed, if a request can never be served.
        """
        batch = _as_batch(prompts)
        each = _params_for(batch, params)
        ids = [self.engine.tokenizer.encode(prompt) if isinstance(prompt, str) else prompt for prompt in batch]
        prepared = [
            self.engine.prepare(prompt_ids, sampling, only_final=True)
            for prompt_ids, sampling in zip(ids, each, strict=True)
        ]
        try:
            for index, request in enumerate(prepared):
                self.engine.enqueue(str(index), request)
            return self._run(batch, ids, use_tqdm)
        finally:  # after an interrupt, leave no request behind
            for index in range(len(batch)):
                self.engine.abort_request(str(index))

    def _run(self, prompts: list[Prompt], ids: list[list[int]], use_tqdm: bool) -> list[Completion]:
        done = [
            Completion(prompt if isinstance(prompt, str) else None, prompt_ids, [], 0)
            for prompt, prompt_ids in zip(prompts, ids, strict=True)
        ]
        with tqdm(total=len(prompts), desc="requests", unit="req", disable=not use_tqdm) as bar:
            while self.engine.has_work:
                for output in self.engine.step():
                    if output.error is not None:
                        raise output.error
                    _add(done[int(output.request_id)], output)
                    bar.update(output.index == 0)
        for completion in done:
            completion.outputs.sort(key=lambda output: output.index)
        return done


def _add(completion: Completion, output: RequestOutput) -> None:
    assert output.finish_reason is not None
    completion.outputs.append(
        CompletionOutput(output.index, output.text, output.token_ids, output.finish_reason, output.logprobs)
    )
    if output.index == 0:
        completion.num_cached_tokens = output.num_cached_tokens
        completion.prompt_logprobs = output.prompt_logprobs


def _as_batch(prompts: Prompt | Sequence[Prompt]) -> list[Prompt]:
    if isinstance(prompts, str):
        return [prompts]
    if prompts and isinstance(prompts[0], int):
        return [[int(token) for token in prompts if isinstance(token, int)]]
    return [prompt for prompt in prompts if not isinstance(prompt, int)]


def _params_for(
    prompts: list[Prompt], params: SamplingParams | Sequence[SamplingParams] | None
) -> list[SamplingParams]:
    if params is None or isinstance(params, SamplingParams):
        return [params or SamplingParams()] * len(prompts)
    if len(params) != len(prompts):
        raise ValueError(f"{len(params)} sampling parameters for {len(prompts)} prompts; give one, or one for each")
    return list(params)
