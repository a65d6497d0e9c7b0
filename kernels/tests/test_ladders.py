"""Ladders: every rung is there with its story; what runs on a CPU is right; figures come from results alone."""

import pytest
import torch

from llm_kernels.ladders import LADDERS, rungs_of
from llm_kernels.ladders.base import check, folder

RUNGS = [rung for name in LADDERS for rung in rungs_of(name)]


@pytest.mark.parametrize("rung", RUNGS, ids=lambda r: f"{r.ladder}/{r.name}")
def test_every_rung_tells_its_story_and_predicts(rung):
    assert rung.story.startswith(f"Rung {int(rung.name[:2])},")
    assert rung.prediction


def test_the_ladders_of_the_issue():
    counts = {name: len(rungs_of(name)) for name in LADDERS}
    assert counts == {"gemm": 9, "reduction": 5, "rope": 3, "attention": 4, "paged_decode": 3, "w4a16_gemv": 5}
    assert all((folder() / name / "README.md").is_file() for name in LADDERS)


@pytest.mark.parametrize("ladder", LADDERS.values(), ids=lambda ladder: ladder.name)
def test_torchs_own_result_passes_and_a_poisoned_one_does_not(ladder):
    args = ladder.make(torch.Generator().manual_seed(1), torch.device("cpu"), ladder.small)

    class Torch:
        def run(self, own):
            for place, result in zip(ladder.outputs, ladder.native(own), strict=True):
                own[place].copy_(result)

    class Nothing:
        def run(self, own):
            own[ladder.outputs[0]].fill_(float("nan"))

    assert check(ladder, Torch(), args)[1] is None
    assert "NaN" in (check(ladder, Nothing(), args)[1] or "")


def test_the_eager_rung_of_rope_is_right():
    ladder, rung = LADDERS["rope"], rungs_of("rope")[0]
    args = ladder.make(torch.Generator().manual_seed(1), torch.device("cpu"), ladder.small)
    assert check(ladder, rung, args)[1] is None
