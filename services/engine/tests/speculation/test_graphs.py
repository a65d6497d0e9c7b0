"""Steps of guesses as graphs, as far as a CPU can test them: a capture just calls the function."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorMode

from llm_engine import LLM, SamplingParams
from llm_engine.errors import NumericalError
from llm_engine.execution.batch import Batch
from llm_engine.execution.transfer import HostCopy
from llm_engine.scheduler.sequence import Sequence
from llm_engine.speculation import graphs as module
from llm_engine.speculation.graphs import TABLE, Rounds, SpeculativeGraphs

CPU = torch.device("cpu")
NUM_DRAFTS = 3
ROOMY: dict[str, Any] = {"num_gpu_blocks_override": 300, "max_model_len": 256}
TIGHT: dict[str, Any] = {
    "num_gpu_blocks_override": 64,
    "block_size": 4,
    "max_model_len": 256,
    "max_num_batched_tokens": 48,
}


class Counted:
    """Graphs that count their steps and the sequences in them."""

    def __init__(self, graphs: SpeculativeGraphs) -> None:
        self.graphs = graphs
        self.steps: list[int] = []

    def takes(self, num_tokens: dict[Sequence, int]) -> bool:
        return self.graphs.takes(num_tokens)

    def launch(self, num_tokens: dict[Sequence, int]) -> Any:
        self.steps.append(len(num_tokens))
        return self.graphs.launch(num_tokens)


def graphed(model: Path, draft: Path, **settings: Any) -> tuple[LLM, Counted]:
    """An engine as on a GPU, with graphs that are captured by calling."""
    llm = LLM(
        str(model),
        attention_backend="triton",
        speculative_config={"model": str(draft), "num_speculative_tokens": NUM_DRAFTS},
        check_invariants=True,
        **settings,
    )
    config, runner = llm.engine.config, llm.engine._runner
    assert runner._draft_model is not None
    rounds = Rounds(
        runner._draft_model.forward, runner._forward, NUM_DRAFTS, llm.engine.max_model_len, config.block_size
    )
    counted = Counted(
        SpeculativeGraphs(rounds, lambda run: run, config.max_num_seqs, sampler=runner._sampler, device=CPU)
    )
    runner._speculative_graphs = counted  # type: ignore[assignment]
    return llm, counted


@pytest.mark.parametrize("settings", [ROOMY, TIGHT], ids=["roomy", "tight"])
@pytest.mark.parametrize("draft", ["draft", "zoo/llama"])
def test_greedy_tokens_are_those_without_guesses(
    models: Path, heldout: str, draft: str, settings: dict[str, Any]
) -> None:
    """Prompts in chunks next to decodes, several answers, preemption; the second time with a prefix cache."""
    zoo = models / "zoo" / "llama"
    plain = LLM(str(zoo), max_num_seqs=8, **settings)
    guessing, counted = graphed(zoo, models / draft, max_num_seqs=8, **settings)
    ids = plain.engine.tokenizer.encode(heldout[:8000])
    prompts = [ids[start : start + 1 + start // 16] for start in range(0, 960, 120)]
    params = [SamplingParams(temperature=0, max_tokens=20 + 5 * i, n=1 + i % 2) for i in range(len(prompts))]
    expected = plain.generate(prompts, params, use_tqdm=False)
    for _ in range(2):
        outputs = guessing.generate(prompts, params, use_tqdm=False)
        for output, want in zip(outputs, expected, strict=True):
            assert [answer.token_ids for answer in output.outputs] == [answer.token_ids for answer in want.outputs]
    assert guessing.engine.speculation is not None
    stats = guessing.engine.speculation.stats
    assert max(counted.steps) > 2
    assert len(counted.steps) > 20
    assert 0 < sum(stats.accepted_by_position) <= stats.num_draft_tokens
    if draft == "zoo/llama" and settings is ROOMY:
        assert sum(stats.accepted_by_position) == stats.num_draft_tokens
    if settings is TIGHT:
        assert guessing.engine.num_preemptions > 0
    assert guessing.engine.kv_cache.pool.num_available == guessing.engine.num_blocks


def test_a_step_reads_nothing_on_the_host() -> None:
    """Fake tensors have no values: whatever reads one fails."""

    def forward(batch: Batch) -> Tensor:
        return torch.empty(len(batch.token_ids if batch.logit_rows is None else batch.logit_rows), 50)

    def reading(batch: Batch) -> Tensor:
        batch.token_ids[0].item()
        return forward(batch)

    with FakeTensorMode():
        inputs = torch.empty(4, TABLE + 8, dtype=torch.int64)
        found = Rounds(forward, forward, NUM_DRAFTS, max_model_len=128, block_size=16).run(inputs)
        assert found.shape == (2 * NUM_DRAFTS + 3, 4)
        with pytest.raises(DataDependentOutputException):
            Rounds(reading, forward, NUM_DRAFTS, max_model_len=128, block_size=16).run(inputs)


def test_a_step_makes_one_copy_to_the_host(models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    zoo = models / "zoo" / "llama"
    llm, counted = graphed(zoo, zoo, **ROOMY)
    copies: list[tuple[int, ...]] = []

    class Copy(HostCopy):
        def __init__(self, *tensors: Tensor) -> None:
            copies.extend(tuple(tensor.shape) for tensor in tensors)
            super().__init__(*tensors)

    monkeypatch.setattr(module, "HostCopy", Copy)
    llm.generate([5, 6, 7, 8], SamplingParams(temperature=0, max_tokens=17, ignore_eos=True), use_tqdm=False)
    assert counted.steps == [1] * 4  # the prompt yields one token, and each step four
    assert copies == [(2 * NUM_DRAFTS + 3, 1)] * 4


def test_rows_that_are_not_computed_write_and_read_nothing() -> None:
    """Three sequences: of one token with one guess, with all guesses, and padding."""
    seen: list[Batch] = []

    def forward(batch: Batch) -> Tensor:
        seen.append(batch)
        rows = batch.token_ids if batch.logit_rows is None else batch.token_ids[batch.logit_rows]
        return torch.nn.functional.one_hot(rows + 1, 50).float()

    inputs = torch.tensor([[0, 7, 0, 1, 3, 0], [8, 9, 4, 2, 5, 6], [0, 0, -1, -1, 0, 0]])
    found = Rounds(forward, forward, 2, max_model_len=8, block_size=4).run(inputs)
    first, second, verified = seen
    assert first.token_ids.tolist() == [0, 8, 0, 7, 9, 0]
    assert first.slots.tolist() == [-1, 5 * 4 + 3, -1, 3 * 4, 6 * 4, -1]
    assert first.context_lens.tolist() == [0, 4, 0, 1, 5, 0]
    assert second.token_ids.tolist() == [8, 10, 1]
    assert second.slots.tolist() == [13, 25, -1]
    assert verified.token_ids.tolist() == [7, 9, 0, 8, 10, 1, 9, 11, 2]
    assert verified.slots.tolist() == [12, 24, -1, 13, 25, -1, -1, 26, -1]
    assert verified.context_lens.tolist() == [1, 5, 0, 2, 6, 0, 0, 7, 0]
    assert verified.block_tables.tolist() == [[3, 0], [5, 6], [0, 0]] * 3
    assert found[:5, 1].tolist() == [10, 11, 10, 11, 12]
    assert found[5].tolist() == [1, 2, 0]


@pytest.mark.parametrize(
    "params",
    [
        {"logprobs": 2},
        {"presence_penalty": 1.0},
        {"min_tokens": 5, "stop_token_ids": (9,)},
        {"logit_bias": {7: 5.0}},
        {"allowed_token_ids": (5, 6, 7)},
        {"temperature": 0.8, "top_k": 3},
        {"temperature": 0.8, "top_p": 0.9},
        {"temperature": 0.8, "min_p": 0.1},
    ],
)
def test_requests_whose_logits_are_edited_or_read_get_the_same_tokens(models: Path, params: dict[str, Any]) -> None:
    """Next to a request that the graphs could serve: such a step runs without them, later ones with them."""
    zoo = models / "zoo" / "llama"
    plain, (guessing, counted) = LLM(str(zoo), **ROOMY), graphed(zoo, zoo, **ROOMY)
    greedy = SamplingParams(temperature=0, max_tokens=80, ignore_eos=True)
    both = [greedy, SamplingParams(max_tokens=12, ignore_eos=True, **({"temperature": 0} | params))]
    expected, outputs = (
        [output.outputs[0] for output in llm.generate([[5, 6, 7], [8, 9]], both, use_tqdm=False)]
        for llm in (plain, guessing)
    )
    compared = outputs if both[1].is_greedy else outputs[:1]
    assert [answer.token_ids for answer in compared] == [answer.token_ids for answer in expected[: len(compared)]]
    assert [answer.logprobs is None for answer in outputs] == [answer.logprobs is None for answer in expected]
    assert set(counted.steps) == {1}


def test_a_seeded_request_draws_the_same_with_graphs_and_without(models: Path) -> None:
    zoo = models / "zoo" / "llama"
    config = {"model": str(models / "draft"), "num_speculative_tokens": NUM_DRAFTS}
    plain = LLM(str(zoo), attention_backend="triton", speculative_config=config, **ROOMY)
    guessing, counted = graphed(zoo, models / "draft", **ROOMY)
    params = [
        SamplingParams(temperature=0.3 * index, seed=index, max_tokens=25 + index, ignore_eos=True)
        for index in range(4)
    ]
    prompts = [[5, 6, 7 + index] for index in range(len(params))]
    expected, outputs = (llm.generate(prompts, params, use_tqdm=False) for llm in (plain, guessing))
    assert [output.token_ids for output in outputs] == [output.token_ids for output in expected]
    assert max(counted.steps) == len(params)


def test_a_stop_or_the_last_token_among_accepted_guesses_cuts_the_rest(models: Path) -> None:
    zoo = models / "zoo" / "llama"
    plain, (guessing, counted) = LLM(str(zoo), **ROOMY), graphed(zoo, zoo, **ROOMY)
    prompt = plain.engine.tokenizer.encode("import os\n")
    free = plain.generate(prompt, SamplingParams(temperature=0, max_tokens=20), use_tqdm=False)[0]
    ends: list[dict[str, Any]] = [{"stop_token_ids": (free.token_ids[place],)} for place in (2, 3, 6, 11)]
    ends += [{"max_tokens": count} for count in range(1, 9)]
    for end in ends:
        params = SamplingParams(temperature=0, **({"max_tokens": 20} | end))
        want, got = (llm.generate(prompt, params, use_tqdm=False)[0] for llm in (plain, guessing))
        assert (got.token_ids, got.text, got.finish_reason) == (want.token_ids, want.text, want.finish_reason)
    assert counted.steps
    assert guessing.engine.kv_cache.pool.num_available == guessing.engine.num_blocks


def test_weights_that_are_not_numbers_end_the_request(models: Path) -> None:
    zoo = models / "zoo" / "llama"
    llm, counted = graphed(zoo, zoo, **ROOMY)
    params = SamplingParams(temperature=0, max_tokens=20, ignore_eos=True)
    llm.engine.add_request("a", [5, 6, 7], params)
    llm.engine.step()
    main = counted.graphs.rounds.main
    counted.graphs.rounds = replace(counted.graphs.rounds, main=lambda batch: main(batch) * float("nan"))
    counted.graphs._greedy = {1: partial(counted.graphs.rounds.run, counted.graphs._inputs.device[:1])}
    (output,) = llm.engine.step()
    assert output.finish_reason == "error"
    assert isinstance(output.error, NumericalError)
    assert not llm.engine.has_work
