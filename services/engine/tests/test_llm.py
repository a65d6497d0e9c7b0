from __future__ import annotations

from pathlib import Path

import pytest

from llm_engine import LLM, SamplingParams
from llm_engine.errors import RequestError

GREEDY = SamplingParams(temperature=0, max_tokens=5)


@pytest.fixture(scope="module")
def llm(models: Path) -> LLM:
    return LLM(str(models / "zoo" / "llama"), num_gpu_blocks_override=256)


def test_completions_come_in_the_order_of_the_prompts(llm: LLM) -> None:
    prompts = ["import os", "class A:", "def f(x):"]
    outputs = llm.generate(
        prompts, [SamplingParams(temperature=0, max_tokens=size) for size in (9, 1, 4)], use_tqdm=False
    )
    assert [output.prompt for output in outputs] == prompts
    assert [len(output.token_ids) for output in outputs] == [9, 1, 4]
    assert [output.text for output in outputs] == [llm.engine.tokenizer.decode(o.token_ids) for o in outputs]


def test_a_text_its_tokens_and_a_list_of_tokens_are_the_same_prompt(llm: LLM) -> None:
    ids = llm.engine.tokenizer.encode("import os")
    texts = [llm.generate(prompt, GREEDY, use_tqdm=False)[0].text for prompt in ("import os", ids, [ids])]
    assert len(set(texts)) == 1


def test_one_bad_prompt_stops_all_before_any_work(llm: LLM) -> None:
    with pytest.raises(RequestError):
        llm.generate([[5], []], GREEDY, use_tqdm=False)
    assert not llm.engine.has_work


def test_as_many_parameters_as_prompts(llm: LLM) -> None:
    with pytest.raises(ValueError, match="1 sampling parameters for 2 prompts"):
        llm.generate(["a", "b"], [GREEDY], use_tqdm=False)


def test_no_prompts_no_completions(llm: LLM) -> None:
    assert llm.generate([], use_tqdm=False) == []


def test_an_interrupted_call_leaves_nothing_behind(llm: LLM, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(llm.engine._runner, "launch", lambda step: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            llm.generate(["import os", "def"], GREEDY, use_tqdm=False)
    assert not llm.engine.has_work
    assert llm.generate("import os", GREEDY, use_tqdm=False)[0].token_ids
