"""The pages say what the results' files say, and "not measured yet" where there is none."""

import pytest

from llm_kernels.bench import pages
from llm_kernels.ladders import LADDERS
from llm_kernels.ladders.base import folder


@pytest.mark.parametrize("name", LADDERS)
def test_a_page_is_what_the_results_make_of_it(name):
    path = folder() / name / "README.md"
    assert path.read_text() == pages.remade(path)
    assert "<!-- counters -->" in path.read_text()


def test_the_table_of_ops_is_what_the_results_make_of_it():
    path = folder().parent / "README.md"
    assert path.read_text() == pages.remade(path)
    assert "| `rms_norm` | triton |" in path.read_text()


def test_a_rungs_counters_are_its_longest_kernels():
    def profile(duration, tensor):
        found = {"Duration": duration, "tensor cores busy": f"{tensor} %", "DRAM Throughput": "9 %"}
        found["warps waiting for shared memory, an issue"] = "1 inst"
        found["warps waiting at barriers, an issue"] = "2 inst"
        return {"target": "ladder:rope/01_eager", "kernel": "k", "counters": found}

    text = pages.counters(
        LADDERS["rope"], [{"environment": {"gpu": "GPU"}, "profiles": [profile("2,000 ns", 40), profile("900 ns", 50)]}]
    )
    assert text.splitlines()[2] == "| 01_eager.py | 9% |  | 40% |  |  | at barriers |"


def test_steps_are_against_the_rung_before_at_the_same_shape():
    row = {
        "op": "ladder rope", "implementation": "01_eager", "shape": "tokens=8192", "seconds": 4e-4, "spread": 0.01,
        "fraction_of_limit": 0.1, "ratio_to_library": 1.0, "library": "torch, eager", "wrong": None,
    }  # fmt: skip
    rows = [row, row | {"implementation": "02_rope_kernel", "seconds": 1e-4}]
    text = pages.table(LADDERS["rope"], [{"environment": {"gpu": "GPU", "torch": "2"}, "rows": rows}])
    assert "| 4.00x | 10.0% |" in text
    assert text.count(pages.NOT_MEASURED) == 1
