"""Which implementation runs, and what is said about the others."""

import logging

import pytest
import torch

from llm_kernels import dispatch, ops
from llm_kernels.dispatch import Implementation, Op
from llm_kernels.errors import UnsupportedInput

X = torch.ones(2, 4)


def op_of(*implementations):
    return Op("op", lambda x: None, (*implementations, Implementation("reference", lambda x: "reference")))


def test_a_cpu_tensor_runs_the_reference(monkeypatch):
    monkeypatch.delenv("LLM_KERNELS_IMPL", raising=False)
    assert op_of(Implementation("triton", lambda x: "triton"))(X) == "reference"


def test_the_override_names_all_ops_or_one(monkeypatch):
    op = op_of(Implementation("triton", lambda x: "triton"))
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    monkeypatch.setenv("LLM_KERNELS_IMPL", "triton")
    assert op(X) == "triton"
    monkeypatch.setenv("LLM_KERNELS_IMPL", "triton,op=reference")
    assert op(X) == "reference"


def test_an_override_that_cannot_run_is_an_error(monkeypatch):
    monkeypatch.setenv("LLM_KERNELS_IMPL", "op=cuda")
    with pytest.raises(UnsupportedInput, match="asks for cuda, which cannot run: needs a GPU"):
        op_of(Implementation("cuda", lambda x: "cuda"))(X)
    with pytest.raises(UnsupportedInput, match="it has reference"):
        op_of()(X)


def test_an_implementation_that_refuses_is_passed_over(monkeypatch):
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    monkeypatch.setenv("LLM_KERNELS_IMPL", "other=triton")
    picky = Implementation("triton", lambda x: "triton", refuses=lambda x: "too wide" if x.shape[1] > 2 else None)
    op = op_of(picky)
    assert op(X) == "reference"
    assert op(X[:, :2]) == "triton"
    assert op.explain((X,)) == [("triton", "too wide"), ("reference", "runs")]


def test_float64_is_for_the_reference(monkeypatch):
    monkeypatch.setenv("LLM_KERNELS_IMPL", "other=triton")
    assert op_of(Implementation("triton", lambda x: "triton")).explain((X.double(),))[0][1].startswith("float64")


def test_says_once_that_everything_falls_back(monkeypatch, caplog):
    monkeypatch.delenv("LLM_KERNELS_IMPL", raising=False)
    dispatch._say_once_no_gpu.cache_clear()
    with caplog.at_level(logging.WARNING, logger="llm_kernels"):
        ops.softmax(X)
        ops.rms_norm(X, torch.ones(4), 1e-6)
    assert [r.message for r in caplog.records] == [
        "no GPU for these tensors: every op runs its reference, in plain torch"
    ]


def test_an_unknown_op_names_the_known_ones():
    with pytest.raises(UnsupportedInput, match="there is no op 'norm'; there are flash_attention"):
        dispatch.get("norm")
