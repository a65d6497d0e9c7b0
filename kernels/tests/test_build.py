"""CUDA sources: the cache's key, the compiler's report, the message without a compiler."""

import pytest

from llm_kernels.cuda import build
from llm_kernels.errors import BuildError

LOG = """ptxas info    : Compiling entry function '_Z6kernelPf' for 'sm_90a'
ptxas info    : Function properties for _Z6kernelPf
    8 bytes stack frame, 16 bytes spill stores, 24 bytes spill loads
ptxas info    : Used 40 registers, used 1 barriers, 128 bytes smem
"""


@pytest.fixture
def source(tmp_path):
    path = tmp_path / "kernel.cu"
    path.write_text('extern "C" int launch() { return 0; }\n')
    return path


def test_the_key_changes_with_source_headers_and_flags(source):
    before = build.key(source)
    assert build.key(source) == before
    assert build.key(source, (*build.FLAGS, "-G")) != before
    (source.parent / "part.cuh").write_text("// new\n")
    with_header = build.key(source)
    assert with_header != before
    source.write_text("// changed\n")
    assert build.key(source) not in (before, with_header)


def test_reads_the_compilers_report():
    assert build.parse_resources(LOG) == [build.Resources("_Z6kernelPf", 40, 16, 24, 128)]


def test_without_a_compiler_the_message_says_what_to_do(source, monkeypatch, tmp_path):
    monkeypatch.setenv("LLM_KERNELS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(build, "nvcc", lambda: None)
    build.why_no_compiler.cache_clear()
    try:
        with pytest.raises(BuildError, match="put it on the PATH or name it in LLM_KERNELS_NVCC"):
            build.build(source)
    finally:
        build.why_no_compiler.cache_clear()


def test_a_build_is_kept(source, monkeypatch, tmp_path):
    monkeypatch.setenv("LLM_KERNELS_CACHE", str(tmp_path / "cache"))
    compiler = tmp_path / "nvcc"
    compiler.write_text(
        f"#!/bin/sh\necho ran >> {tmp_path}/runs\nwhile [ $# -gt 1 ]; do [ $1 = -o ] && echo built > $2; shift; done\n"
    )
    compiler.chmod(0o755)
    monkeypatch.setattr(build, "nvcc", lambda: str(compiler))
    monkeypatch.setattr(build, "_version", lambda: "test")
    first, second = build.build(source), build.build(source)
    assert first == second
    assert first.read_text() == "built\n"
    assert (tmp_path / "runs").read_text().count("ran") == 1


def test_a_failed_build_shows_the_compilers_words(source, monkeypatch, tmp_path):
    monkeypatch.setenv("LLM_KERNELS_CACHE", str(tmp_path / "cache"))
    compiler = tmp_path / "nvcc"
    compiler.write_text("#!/bin/sh\necho 'error: expected a ;' >&2\nexit 1\n")
    compiler.chmod(0o755)
    monkeypatch.setattr(build, "nvcc", lambda: str(compiler))
    monkeypatch.setattr(build, "_version", lambda: "test")
    with pytest.raises(BuildError, match=r"kernel\.cu:\nerror: expected a ;"):
        build.build(source)
