from __future__ import annotations

import gzip
import json
import socket
import time
from pathlib import Path

import pytest
import torch

from llm_quantize.errors import EvaluationError
from llm_quantize.evaluation.humaneval.problems import Problem, read_problems
from llm_quantize.evaluation.humaneval.sandbox import Limits, run_program
from llm_quantize.evaluation.humaneval.scoring import complete, cut_completion, score_likelihood, score_pass_at_1
from llm_quantize.evaluation.model import load

PROBLEMS = [
    Problem(
        task_id=f"Test/{number}",
        prompt=f'def add_{number}(a, b):\n    """Return a + b + {number}."""\n',
        canonical_solution=f"    return a + b + {number}\n",
        test=f"def check(candidate):\n    assert candidate(1, 2) == {3 + number}\n",
        entry_point=f"add_{number}",
    )
    for number in range(8)
]


def test_a_right_completion_passes_and_a_wrong_one_fails() -> None:
    problem = PROBLEMS[1]
    assert run_program(problem.program(problem.canonical_solution)) == "passed"
    assert run_program(problem.program("    return a - b\n")) == "failed"
    assert run_program(problem.program("    return (\n")) == "failed"


@pytest.mark.parametrize(
    "program",
    [
        "raise SystemExit(0)",
        "import os\nos._exit(0)",
        "import sys\nsys.exit()",
        "quit()",
        "print('passed')\nraise ValueError",
        "import os\nos.write(3, b'passed')\nos._exit(0)",
    ],
)
def test_an_early_end_is_no_success(program: str) -> None:
    assert run_program(program) == "failed"


def test_a_loop_ends_by_the_clock() -> None:
    begin = time.monotonic()
    assert run_program("while True: pass", Limits(seconds=1)) == "timeout"
    assert time.monotonic() - begin < 11


def test_sleep_costs_no_cpu_time_and_ends_as_well(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("llm_quantize.evaluation.humaneval.sandbox.START_SECONDS", 2.0)
    assert run_program("import time\ntime.sleep(600)", Limits(seconds=1)) == "timeout"


def test_memory_is_limited() -> None:
    assert run_program("kept = bytearray(1 << 20)") == "passed"
    assert run_program("kept = bytearray(1 << 31)") == "failed"


def test_no_network_is_reached() -> None:
    """A listener in this process gets no connection, by socket or by any other module."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        listener.settimeout(0.2)
        assert run_program(f"import socket\nsocket.create_connection(('127.0.0.1', {port}), 1)") == "failed"
        low = f"import _socket\n_socket.socket(2, 1).connect(('127.0.0.1', {port}))"
        assert run_program(low) == "failed"
        with pytest.raises(TimeoutError):
            listener.accept()


@pytest.mark.parametrize(
    "program",
    [
        "open({path!r}, 'w').write('x')",
        "import os\nos.open({path!r}, os.O_CREAT | os.O_WRONLY)",
        "import pathlib\npathlib.Path({path!r}).write_text('x')",
        "import os\nos.system('touch {path}')",
        "import subprocess\nsubprocess.run(['touch', {path!r}])",
        "import os\nos.fork()",
        "import os\nos.kill(os.getppid(), 9)",
        "import os\nos.mkdir({path!r})",
        "import ctypes\nctypes.CDLL(None).system(b'touch {path}')",
    ],
)
def test_no_file_is_written_and_no_process_started(program: str, tmp_path: Path) -> None:
    path = tmp_path / "made"
    assert run_program(program.format(path=str(path))) == "failed"
    assert not path.exists()


def test_a_flood_of_output_is_not_kept() -> None:
    assert run_program("import os\nfor _ in range(100000): os.write(3, b'x' * 65536)") == "failed"


def test_the_environment_is_empty() -> None:
    assert run_program("import os\nassert not set(os.environ) - {'LC_CTYPE'}, os.environ") == "passed"


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("    return 1\n\n\ndef other():\n    pass\n", "    return 1\n\n"),
        ("    return 1\n# end\n", "    return 1"),
        ("    x = [\n        1,\n    ]\n    return x\n", "    x = [\n        1,\n    ]\n    return x\n"),
        ("    return (\n        1\n)\nprint(2)", "    return (\n        1\n)"),
        ("def other():", ""),
        ("", ""),
    ],
)
def test_a_completion_ends_with_its_function(text: str, kept: str) -> None:
    assert cut_completion(text) == kept


def test_likelihood_prefers_the_solution_to_its_words_shuffled(tiny: Path) -> None:
    loaded = load(tiny)
    shuffled = [Problem(one.task_id, one.prompt, "    b return + a\n", one.test, one.entry_point) for one in PROBLEMS]
    assert score_likelihood(loaded, PROBLEMS).figure().value < score_likelihood(loaded, shuffled).figure().value / 2


def test_batched_completions_are_those_of_each_prompt_alone(tiny: Path) -> None:
    loaded = load(tiny)
    prompts = [
        "def first(a):\n",
        'def second(names, values):\n    """Pair them."""\n',
        "class Third:\n    def run(self):\n",
    ]
    together = complete(loaded, prompts, 24)
    assert together == [complete(loaded, [prompt], 24)[0] for prompt in prompts]
    assert any(text.strip() for text in together)


def test_the_prompts_last_line_break_is_left_to_the_model(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A token can span the break and the indentation; a prompt that ends with the break would cut it in two."""
    loaded = load(tiny)
    seen: list[str] = []

    def generate(*, input_ids: torch.Tensor, **_: object) -> torch.Tensor:
        seen.extend(loaded.tokenizer.batch_decode(input_ids))
        return input_ids

    monkeypatch.setattr(loaded.model, "generate", generate)
    assert complete(loaded, ["def add(a, b):\n    # Add.\n"]) == [""]
    assert seen == ["def add(a, b):\n    # Add."]


def test_pass_at_1_counts_what_passed(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written = {one.prompt: one.canonical_solution for one in PROBLEMS[:2]}
    monkeypatch.setattr(
        "llm_quantize.evaluation.humaneval.scoring.complete",
        lambda _, prompts: [written.get(prompt, "    return None\n") for prompt in prompts],
    )
    assert score_pass_at_1(load(tiny), PROBLEMS).values == [1.0, 1.0, *[0.0] * 6]


def test_problems_are_read_plain_or_packed(tmp_path: Path) -> None:
    rows = "\n".join(json.dumps({field: getattr(one, field) for field in Problem.__slots__}) for one in PROBLEMS)
    (tmp_path / "plain.jsonl").write_text(rows)
    (tmp_path / "packed.jsonl.gz").write_bytes(gzip.compress(rows.encode()))
    assert read_problems(tmp_path / "plain.jsonl") == read_problems(tmp_path / "packed.jsonl.gz") == PROBLEMS
    (tmp_path / "broken.jsonl").write_text('{"task_id": 1}')
    for file in ("broken.jsonl", "missing.jsonl"):
        with pytest.raises(EvaluationError, match=f"{file}: HumanEval's problems cannot be read"):
            read_problems(tmp_path / file)
