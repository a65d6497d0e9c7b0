"""The pages say what the results' files say, and "not measured yet" where there is none."""

import pytest

from llm_kernels.bench import pages
from llm_kernels.ladders import LADDERS
from llm_kernels.ladders.base import folder


@pytest.mark.parametrize("ladder", LADDERS.values(), ids=lambda ladder: ladder.name)
def test_a_page_is_what_the_results_make_of_it(ladder):
    page = (folder() / ladder.name / "README.md").read_text()
    assert page == pages.rewritten(page, "rungs", pages.table(ladder, pages.results()))


def test_the_table_of_ops_is_what_the_results_make_of_it():
    page = (folder().parent / "README.md").read_text()
    assert page == pages.rewritten(page, "ops", pages.op_table(pages.results("bench.json")))
    assert "| `rms_norm` | triton |" in page


def test_steps_are_against_the_rung_before_at_the_same_shape():
    row = {
        "op": "ladder rope", "implementation": "01_eager", "shape": "tokens=8192", "seconds": 4e-4, "spread": 0.01,
        "fraction_of_limit": 0.1, "ratio_to_library": 1.0, "library": "torch, eager", "wrong": None,
    }  # fmt: skip
    rows = [row, row | {"implementation": "02_rope_kernel", "seconds": 1e-4}]
    text = pages.table(LADDERS["rope"], [{"environment": {"gpu": "GPU", "torch": "2"}, "rows": rows}])
    assert "| 4.00x | 10.0% |" in text
    assert text.count(pages.NOT_MEASURED) == 1
