"""The kernels for CPUs against the exact result, on the ops' workloads."""

import pytest
import torch

from llm_kernels import accuracy, cpu, workloads
from llm_kernels.cpu import build
from llm_kernels.dispatch import Implementation

pytestmark = pytest.mark.skipif(
    build.compiler() is None, reason="there is no C++ compiler; tools/debian-packages installs one"
)


def fused_add_rms_norm(x, residual, weight, eps):
    total = residual.contiguous().clone()
    return cpu.add_rms_norm(total, x.contiguous(), weight, eps), total


def rope_paged_kv_write(query, key, value, positions, cos_sin, cache, slots, *rest):
    cpu.rope_paged_kv_write(query, key, value, positions.long(), cos_sin, cache, slots.long(), *rest)


def paged_attention(query, cache, tables, context_lens, starts, _queries, _context, window=0, scale=None):
    return cpu.paged_attention(query, cache, tables.long(), context_lens.long(), starts.long(), window, scale)


def gelu_and_mul(x, approximate="none"):
    return cpu.gated_activation(x, "gelu_tanh" if approximate == "tanh" else "gelu")


def gemv(x, weight, bias):
    return cpu.linear(x, cpu.pack(weight), bias)


OPS = {
    "rms_norm": cpu.rms_norm,
    "fused_add_rms_norm": fused_add_rms_norm,
    "silu_and_mul": lambda x: cpu.gated_activation(x, "silu"),
    "gelu_and_mul": gelu_and_mul,
    "rope_paged_kv_write": rope_paged_kv_write,
    "paged_attention": paged_attention,
    "gemv": gemv,
}
CASES = [w for w in workloads.small() if w.op in OPS and w.dtype is torch.float32]


def test_they_are_built_here():
    assert cpu.why_not() is None


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("workload", CASES, ids=lambda w: w.name)
def test_is_accurate(workload, threads):
    args = workload.inputs(seed=1)
    if workload.op == "paged_attention" and args[0].shape[2] % cpu.HEAD_DIM_MULTIPLE:
        return  # the engine takes another back end
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        verdict = accuracy.judge(workload, Implementation("cpu", OPS[workload.op]), args)
    finally:
        torch.set_num_threads(before)
    assert verdict.wrong is None


def test_every_kernel_has_workloads():
    assert {w.op for w in CASES} == set(OPS)


def random(*shape, seed=0, dtype=torch.float32):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)).to(dtype).float()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("rows", [*range(1, 15), 47, 49, 100])
@pytest.mark.parametrize(("outputs", "inputs"), [(1, 1), (16, 8), (70, 33), (129, 64)])
def test_linear_is_the_product(rows, outputs, inputs, dtype):
    x, weight, bias = random(rows, inputs), random(outputs, inputs, seed=1, dtype=dtype), random(outputs, seed=2)
    packed = cpu.pack(weight)
    assert packed.panels.dtype == (torch.int16 if dtype is torch.bfloat16 else torch.float32)
    for added in (None, bias):
        exact = torch.nn.functional.linear(x.double(), weight.double(), None if added is None else added.double())
        torch.testing.assert_close(cpu.linear(x, packed, added).double(), exact, rtol=1e-5, atol=1e-5)


def test_a_rows_product_does_not_depend_on_the_rows_beside_it():
    x, packed = random(100, 256), cpu.pack(random(70, 256, seed=1, dtype=torch.bfloat16))
    whole = cpu.linear(x, packed)
    for start, stop in ((0, 1), (5, 7), (30, 48), (0, 6), (90, 100)):
        assert torch.equal(cpu.linear(x[start:stop], packed), whole[start:stop])


def paged(contexts, queries, heads, kv_heads, head_dim, block_size=4):
    blocks = [-(-context // block_size) for context in contexts]
    ids = torch.randperm(sum(blocks), generator=torch.Generator().manual_seed(3)).split(blocks)
    tables = torch.zeros(len(contexts), max(blocks), dtype=torch.int64)
    for row, own in zip(tables, ids, strict=True):
        row[: len(own)] = own
    cache = random(sum(blocks), block_size, 2, kv_heads, head_dim, seed=4)
    query = random(sum(queries), heads, head_dim, seed=5)
    starts = torch.tensor([0, *queries]).cumsum(0)
    return query, cache, tables, torch.tensor(contexts), starts, max(queries), max(contexts)


@pytest.mark.parametrize("head_dim", [8, 16, 24, 32, 40, 64, 72, 96, 128, 256])
@pytest.mark.parametrize("window", [0, 5, 21])
def test_attention_of_any_head(head_dim, window):
    workload = next(w for w in CASES if w.op == "paged_attention")
    args = (*paged([1, 7, 33, 50, 40], [1, 1, 1, 9, 40], 6, 2, head_dim), window, None)
    assert accuracy.judge(workload, Implementation("cpu", paged_attention), args).wrong is None


def test_what_nobody_sees_may_be_nan():
    query, cache, tables, contexts, starts, *maxima = paged([5, 6, 30], [1, 6, 30], 4, 2, 16)
    right = paged_attention(query, cache, tables, contexts, starts, *maxima)
    seen = torch.zeros(cache.shape[:2], dtype=torch.bool)
    for table, context in zip(tables, contexts.tolist(), strict=True):
        for position in range(context):
            seen[table[position // 4], position % 4] = True
    cache[~seen] = float("nan")
    assert not seen.all()
    assert torch.equal(paged_attention(query, cache, tables, contexts, starts, *maxima), right)


def test_without_a_compiler_the_reason_is_said(monkeypatch):
    monkeypatch.setenv("CXX", "/no/such/compiler")
    monkeypatch.setenv("PATH", "/nowhere")
    for cached in (build.compiler, build.why_not):
        cached.cache_clear()
    try:
        assert "install g++" in build.why_not()
    finally:
        monkeypatch.undo()
        for cached in (build.compiler, build.why_not):
            cached.cache_clear()


def test_what_does_not_compile_is_said(monkeypatch, tmp_path):
    (tmp_path / "broken.cpp").write_text("int f( {")
    monkeypatch.setattr(build, "SOURCES", tmp_path)
    monkeypatch.setenv("LLM_KERNELS_CACHE", str(tmp_path))
    with pytest.raises(build.BuildError, match=r"broken\.cpp"):
        build.build()


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("CXX", "/bin/false", "/bin/false could not compile the kernels for the CPU"),
        ("LLM_KERNELS_CACHE", "/dev/null", "the kernels for the CPU cannot be kept in or loaded from /dev/null: "),
    ],
)
def test_what_cannot_build_is_said_in_a_line(monkeypatch, name, value, reason):
    cached = (build.compiler, build.why_not, build.library, build._openmp)
    monkeypatch.setenv(name, value)
    for function in cached:
        function.cache_clear()
    try:
        said = build.why_not()
    finally:
        monkeypatch.undo()
        for function in cached:
            function.cache_clear()
    assert said.startswith(reason)
    assert "\n" not in said
