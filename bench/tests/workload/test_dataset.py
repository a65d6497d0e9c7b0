from collections.abc import Callable
from pathlib import Path

import orjson
import pytest

from llm_bench.errors import ScenarioError
from llm_bench.workload.dataset import PromptSample, read_samples

Write = Callable[[bytes], Path]


@pytest.fixture
def samples(tmp_path: Path) -> Write:
    def write(data: bytes) -> Path:
        path = tmp_path / "prompts"
        path.write_bytes(data)
        read_samples.cache_clear()
        return path

    return write


def test_json_lines(samples: Write) -> None:
    lines = [
        {"prompt": "one", "output_tokens": 5},
        {"text": "two"},
        {"messages": [{"role": "system", "content": "be brief"}, {"role": "user", "content": "three"}]},
    ]

    read = read_samples(samples(b"\n\n".join(map(orjson.dumps, lines))))

    assert list(read.rows) == [PromptSample("one", 5), PromptSample("two"), PromptSample("be brief\nthree")]


def test_share_gpt_asks_the_first_question(samples: Write) -> None:
    said = [
        {"from": "system", "value": "s"},
        {"from": "human", "value": "question"},
        {"from": "gpt", "value": "answer"},
        {"from": "human", "value": "more"},
    ]

    assert list(read_samples(samples(orjson.dumps([{"conversations": said}]))).rows) == [
        PromptSample("question", answer="answer")
    ]


@pytest.mark.parametrize(
    ("data", "where", "what"),
    [
        (b'{"prompt": "a"}\n{"prompt": " "}\n', "2", "the prompt is empty"),
        (b'{"prompt": "a"}\n\n{"question": "b"}\n', "3", "'text' is missing"),
        (b'{"prompt": "a", "output_tokens": 0}\n{"prompt": "b"}', "1", "must be at least 1, not 0"),
        (b'{"prompt": "a"}\nx\n', "2", "unexpected character"),
        (b'[{"prompt": "a"}, 7]', "entry 2", "is not a JSON object"),
        (b'[{"prompt": "a"}, {"conversations": [{"from": "human", "value": "?"}]}]', "entry 2", "no question with"),
        (b'[{"prompt": "a"}, {"conversations": []}]', "entry 2", "no question with"),
    ],
)
def test_a_bad_row_is_named_or_skipped_and_counted(samples: Write, data: bytes, where: str, what: str) -> None:
    path = samples(data)

    with pytest.raises(ScenarioError, match=rf"prompts:{where}: .*{what}.*--skip-bad-rows"):
        read_samples(path)
    assert read_samples(path, skip_bad_rows=True).skipped == 1


@pytest.mark.parametrize(("data", "what"), [(b"", "has no prompt"), (b"[}", "is not JSON")])
def test_a_file_without_prompts_is_refused(samples: Write, data: bytes, what: str) -> None:
    with pytest.raises(ScenarioError, match=what):
        read_samples(samples(data))
