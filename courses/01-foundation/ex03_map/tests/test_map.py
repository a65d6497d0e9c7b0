"""Each answer against the code; then one request, which has to pass the places that you name."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from importlib import util
from pathlib import Path
from types import ModuleType

import pytest
from exercise import ANSWER, COMPUTE, ENTRANCE, LOOP, MEMORY, walk

from llm_course.paths import MODELS, ROOT
from llm_course.prose.references import has_symbol, vllm

ENGINE = ROOT / "services" / "engine" / "llm_engine"
OURS = {
    "command line": {"cli.py::main"},
    "offline": {"llm.py::LLM.generate"},
    "completions": {"server/app.py::Routes.complete", "server/completions.py::complete"},
    "settings": {"settings.py::EngineConfig"},
    "bridge": {"server/async_engine.py::AsyncEngine"},
    "step": {"engine.py::Engine.step"},
    "batch": {"scheduler/scheduler.py::Scheduler.schedule"},
    "preempt": {"scheduler/scheduler.py::Scheduler._preempt"},
    "more room": {"kv_cache/manager.py::KVCacheManager.grow"},
    "free block": {"kv_cache/block_pool.py::BlockPool.allocate"},
    "known prefix": {
        "kv_cache/prefix_cache.py::HashPrefixCache.match",
        "kv_cache/manager.py::KVCacheManager._find_computed",
    },
    "give back": {"kv_cache/manager.py::KVCacheManager.release"},
    "how many blocks": {"startup/sizing.py::num_blocks"},
    "run": {"execution/model_runner.py::ModelRunner.launch"},
    "forward": {"execution/decoder.py::DecoderModel.forward"},
    "next token": {"sampling/sampler.py::Sampler.sample"},
    "parameters": {"sampling/params.py::SamplingParams"},
    "text": {"request/detokenizer.py::Detokenizer.push"},
    "abort": {"engine.py::Engine.abort_request"},
    "metrics": {"metrics.py::EngineMetrics"},
}
VLLM = {
    "command line": {"vllm/entrypoints/cli/main.py::main", "vllm/entrypoints/cli/serve.py::ServeSubcommand.cmd"},
    "offline": {"vllm/entrypoints/llm.py::LLM.generate"},
    "completions": {
        "vllm/entrypoints/openai/completion/api_router.py::create_completion",
        "vllm/entrypoints/openai/completion/serving.py::OpenAIServingCompletion.create_completion",
    },
    "settings": {"vllm/engine/arg_utils.py::EngineArgs", "vllm/engine/arg_utils.py::AsyncEngineArgs"},
    "bridge": {"vllm/v1/engine/async_llm.py::AsyncLLM"},
    "step": {
        "vllm/v1/engine/core.py::EngineCore.step",
        "vllm/v1/engine/core.py::EngineCore.step_with_batch_queue",
    },
    "batch": {"vllm/v1/core/sched/scheduler.py::Scheduler.schedule"},
    "preempt": {"vllm/v1/core/sched/scheduler.py::Scheduler._preempt_request"},
    "more room": {"vllm/v1/core/kv_cache_manager.py::KVCacheManager.allocate_slots"},
    "free block": {"vllm/v1/core/block_pool.py::BlockPool.get_new_blocks"},
    "known prefix": {
        "vllm/v1/core/kv_cache_manager.py::KVCacheManager.get_computed_blocks",
        "vllm/v1/core/block_pool.py::BlockPool.get_cached_block",
    },
    "give back": {"vllm/v1/core/kv_cache_manager.py::KVCacheManager.free"},
    "how many blocks": {
        "vllm/v1/core/kv_cache_utils.py::get_kv_cache_configs",
        "vllm/v1/core/kv_cache_utils.py::get_kv_cache_config_from_groups",
    },
    "run": {"vllm/v1/worker/gpu_model_runner.py::GPUModelRunner.execute_model"},
    "forward": {
        "vllm/model_executor/models/llama.py::LlamaModel.forward",
        "vllm/model_executor/models/llama.py::LlamaForCausalLM.forward",
    },
    "next token": {"vllm/v1/sample/sampler.py::Sampler.forward", "vllm/v1/sample/sampler.py::Sampler.sample"},
    "parameters": {"vllm/sampling_params.py::SamplingParams"},
    "text": {
        "vllm/v1/engine/detokenizer.py::BaseIncrementalDetokenizer.update",
        "vllm/v1/engine/detokenizer.py::IncrementalDetokenizer.update",
    },
    "abort": {"vllm/v1/engine/core.py::EngineCore.abort_requests"},
    "metrics": {"vllm/v1/metrics/loggers.py::PrometheusStatLogger"},
}
WAY = ("offline", "step", "batch", "known prefix", "more room", "free block", "run", "forward", "next token", "text")


def mistakes(area: dict[str, tuple[str, str]]) -> list[str]:
    """Return a sentence for each answer that is not right; what is right is for the learner to find."""
    return [
        f"{question}: {text}"
        for question, (ours, theirs) in area.items()
        for text in (*wrong(ours, OURS[question], ENGINE), *wrong(theirs, VLLM[question]))
    ]


def wrong(answer: str, accepted: set[str], folder: Path | None = None) -> Iterator[str]:
    if answer in accepted:
        return
    _, found, symbol = answer.partition("::")
    if not found or not symbol:
        yield f"{answer!r} is not of the form 'path.py::Symbol'"
    elif any(each.startswith(f"{answer}.") for each in accepted):
        yield f"{answer} is the right class; which of its methods?"
    elif folder is not None and not has(folder, answer):
        yield f"there is no {answer}"
    else:
        yield f"{answer} is not the place"


def has(folder: Path, place: str) -> bool:
    path, _, symbol = place.partition("::")
    return (folder / path).is_file() and has_symbol(folder / path, symbol)


def test_where_a_request_enters() -> None:
    """The places of ENTRANCE: command line, script, HTTP handler, settings."""
    assert mistakes(ENTRANCE) == []


def test_where_the_loop_turns() -> None:
    """The places of LOOP: the bridge to the server, the step, the choice of a batch, preemption."""
    assert mistakes(LOOP) == []


def test_where_memory_is_managed() -> None:
    """The places of MEMORY: room for the next tokens, a free block, a known prefix, the way back."""
    assert mistakes(MEMORY) == []


def test_where_the_model_runs() -> None:
    """The places of COMPUTE: the number of blocks, the runner, the forward pass, the sampler."""
    assert mistakes(COMPUTE) == []


def test_where_an_answer_is_made() -> None:
    """The places of ANSWER: parameters, text, abort, metrics."""
    assert mistakes(ANSWER) == []


def test_the_map_is_true_of_the_installed_code() -> None:
    """Each of the 20 places that you name exists in this engine, and each of vLLM's if it is installed here."""
    places = [places for area in (ENTRANCE, LOOP, MEMORY, COMPUTE, ANSWER) for places in area.values()]
    assert len(places) == 20
    assert [ours for ours, _ in places if not has(ENGINE, ours)] == []
    packages = vllm()
    if packages is not None:
        assert [theirs for _, theirs in places if not has(packages, theirs)] == []


SMALL = """
class Kettle:
    def boil(self):
        return self._heat() + self._heat()

    def _heat(self):
        return sum(degree for degree in range(3))

def tea(kettle):
    pour = lambda: kettle.boil()
    return pour() + pour()

def spill():
    raise ValueError("hot")
"""


@pytest.fixture
def small(tmp_path: Path) -> ModuleType:
    """A package of one module."""
    path = tmp_path / "small" / "kitchen.py"
    path.parent.mkdir()
    path.write_text(SMALL)
    spec = util.spec_from_file_location("kitchen", path)
    assert spec is not None
    assert spec.loader is not None
    module = util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_each_function_once_in_order_of_entry(small: ModuleType, tmp_path: Path) -> None:
    """`tea` boils twice and heats four times: three functions, the outermost first, without lambda and generator."""
    found = walk(lambda: small.tea(small.Kettle()), tmp_path / "small")
    assert found == ["kitchen.py::tea", "kitchen.py::Kettle.boil", "kitchen.py::Kettle._heat"]


def test_other_packages_are_not_walked(small: ModuleType, tmp_path: Path) -> None:
    """A folder `small-talk` begins like `small`, and is another one."""
    (tmp_path / "small-talk").mkdir()
    assert walk(lambda: small.tea(small.Kettle()), tmp_path / "small-talk") == []
    assert walk(lambda: small.tea(small.Kettle()), tmp_path / "sma") == []
    assert len(walk(lambda: small.tea(small.Kettle()), tmp_path)) == 3


def test_the_watch_ends_with_the_call(small: ModuleType, tmp_path: Path) -> None:
    """The call raises: the error comes out, and the profiler is what it was before."""
    before = sys.getprofile()
    try:
        with pytest.raises(ValueError, match="hot"):
            walk(small.spill, tmp_path / "small")
        after = sys.getprofile()
    finally:
        sys.setprofile(before)
    assert after is before


def test_one_request_walks_past_your_answers(record_property: Callable[[str, object], None]) -> None:
    """One prompt through the engine: it enters the places that you name, from `offline` to `text`, in this order."""
    from llm_engine import LLM, SamplingParams

    llm = LLM(str(MODELS / "zoo" / "llama"), num_gpu_blocks_override=16, max_model_len=64)
    params = SamplingParams(temperature=0.8, seed=1, top_p=0.9, max_tokens=8)
    found = walk(lambda: llm.generate(["def fibonacci(n):"], params, use_tqdm=False), ENGINE)
    record_property("prediction", len({place.split("::")[0] for place in found}))
    answers = {
        question: ours for area in (ENTRANCE, LOOP, MEMORY, COMPUTE, ANSWER) for question, (ours, _) in area.items()
    }
    named = [answers[question] for question in WAY]
    assert [place for place in found if place in named] == named
