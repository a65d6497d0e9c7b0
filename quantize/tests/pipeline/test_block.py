"""Statistics of what a block's layers read, and what is in memory meanwhile."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from llm_quantize.checkpoint import Checkpoint
from llm_quantize.pipeline import block as blocks
from llm_quantize.pipeline.block import Block, gather
from llm_quantize.pipeline.skeleton import Skeleton


class Pair(nn.Module):
    """Two layers that read the same input, a third one, and the rest of a block."""

    def __init__(self) -> None:
        super().__init__()
        self.left, self.right, self.last = nn.Linear(8, 16), nn.Linear(8, 16), nn.Linear(16, 8)
        self.finished = 0

    def forward(self, hidden: Tensor, **_: Any) -> Tensor:
        out: Tensor = self.last(self.left(hidden) * self.right(hidden))
        self.finished += 1
        return out


def test_statistics_of_all_batches_without_the_work_after_the_last_layer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocks, "BATCH_TOKENS", 8)
    hidden = torch.randn(6, 4, 8, generator=torch.Generator().manual_seed(0))
    module = Pair().requires_grad_(False)
    groups = gather(Block("block", module, {}), hidden, ["left", "right", "last"])
    assert [group.layers for group in groups] == [["left", "right"], ["last"]]
    rows = hidden.reshape(-1, 8)
    for group, read in zip(groups, (rows, module.left(rows) * module.right(rows)), strict=True):
        assert group.hessian is not None
        torch.testing.assert_close(group.hessian.matrix(), 2 * read.T @ read / len(rows))
    assert module.finished == 0


def test_only_a_block_is_in_memory_while_it_is_treated(llama: Path) -> None:
    skeleton, weights = Skeleton(llama, torch.device("cpu"), torch.float32), Checkpoint(llama)
    _, arguments = skeleton.start(weights, torch.zeros(1, 8, dtype=torch.int64), batch=1)
    skeleton.load(0, weights, arguments[0])
    held = {name for name, parameter in skeleton.model.named_parameters() if not parameter.is_meta}
    assert held
    assert all(name.startswith("model.layers.0.") for name in held)


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="the system does not say what is mapped")
def test_a_tensor_that_is_dropped_leaves_no_file_in_memory(llama: Path) -> None:
    weights = Checkpoint(llama)
    tensor = weights.get(min(weights.names)).float() + 1
    assert "model.safetensors" not in Path("/proc/self/maps").read_text()
    assert bool(tensor.isfinite().all())
