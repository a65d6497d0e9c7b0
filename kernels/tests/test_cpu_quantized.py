"""Linear layers of packed 8-bit and 4-bit weights on a CPU against the exact product of what the weights mean."""

import platform
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from llm_kernels import cpu
from llm_kernels.cpu import build, memory
from llm_kernels.errors import UnsupportedInput

pytestmark = pytest.mark.skipif(
    build.compiler() is None, reason="there is no C++ compiler; tools/debian-packages installs one"
)

ROWS = [1, 2, 3, 4, 7, 9, 16, 49, 100]
SHAPES = [(1, 8), (16, 32), (70, 136), (129, 256), (48, 33)]
"""[out, in]"""
GROUPED = ["int4", "int4 with zeros", "int8 groups", "int8 groups with zeros"]
KINDS = [*GROUPED, "int8", "int8 inputs", "fp8", "fp8 inputs"]


def random(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def integers(low, high, *shape, seed=0, dtype=torch.int64):
    return torch.randint(low, high, shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def in_groups(kind, outputs, inputs, group_size=32, order=None):
    """Return a packed weight, and what it means: [out, in] float64."""
    groups = -(-inputs // group_size)
    is_int4 = kind.startswith("int4")
    low, high, dtype = (0, 16, torch.uint8) if is_int4 else (-128, 128, torch.int8)
    values = integers(low, high, outputs, inputs, seed=1, dtype=dtype)
    scales = random(outputs, groups, seed=2).abs() + 0.1
    points = integers(low, high, outputs, groups, seed=3, dtype=dtype) if "zeros" in kind else None
    packed = (cpu.pack_int4 if is_int4 else cpu.pack_int8_groups)(values, scales, points, group_size, order)
    group = torch.arange(inputs) // group_size
    zero = (8 if is_int4 else 0) if points is None else points[:, group].double()
    meant = (values.double() - zero) * scales.double()[:, group]
    if order is not None:
        meant = torch.empty_like(meant).index_copy_(1, order, meant)
    return packed, meant


def eight_bits(outputs, inputs, kind):
    scales = random(outputs, seed=2).abs() + 0.1
    rounds = kind.endswith("inputs")
    if kind.startswith("int8"):
        values = integers(-128, 128, outputs, inputs, seed=1, dtype=torch.int8)
        packed = cpu.pack_int8(values, scales, rounds_inputs=rounds)
    else:
        values = (random(outputs, inputs, seed=1) * 100).to(torch.float8_e4m3fn)
        packed = cpu.pack_fp8(values, scales, rounds_inputs=rounds)
    return packed, values.double() * scales.double()[:, None]


def weight(outputs, inputs, kind):
    if kind in GROUPED:
        return in_groups(kind, outputs, inputs)
    return eight_bits(outputs, inputs, kind)


def rounded(x, kind):
    """Return x as the layer reads it, in float64: rounded row by row if its kind says so."""
    if not kind.endswith("inputs"):
        return x.double()
    largest = 127 if kind.startswith("int8") else 448
    scale = (x.abs().amax(1, keepdim=True) / largest).clamp(min=torch.finfo(torch.float32).tiny)
    scaled = x / scale
    scaled = scaled.round() if kind.startswith("int8") else scaled.clamp(-448, 448).to(torch.float8_e4m3fn)
    return scaled.double() * scale.double()


def assert_is_product(result, x, meant):
    """Compare with the exact product, with as much tolerance as float32 sums of these terms need."""
    terms = x.abs() @ meant.abs().T
    assert ((result.double() - x @ meant.T).abs() <= 1e-6 * terms + 1e-30).all()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("outputs", "inputs"), SHAPES)
def test_it_is_the_product(outputs, inputs, kind):
    packed, meant = weight(outputs, inputs, kind)
    bias = random(outputs, seed=4)
    for rows in ROWS:
        x = random(rows, inputs)
        assert_is_product(cpu.linear(x, packed), rounded(x, kind), meant)
    torch.testing.assert_close(cpu.linear(x, packed, bias), cpu.linear(x, packed) + bias)


@pytest.mark.parametrize("kind", KINDS)
def test_threads_divide_the_work(kind):
    packed, _ = weight(150, 64, kind)
    x, before = random(70, 64), torch.get_num_threads()
    results = []
    try:
        for threads in (1, 2, 3, 7):
            torch.set_num_threads(threads)
            results.append(cpu.linear(x, packed))
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(result, results[0]) for result in results)


@pytest.mark.parametrize("kind", GROUPED)
@pytest.mark.parametrize("group_size", [8, 32, 64, 128, 200])
def test_groups_of_any_size(group_size, kind):
    packed, meant = in_groups(kind, 50, 320, group_size)  # the last group is short
    x = random(5, 320)
    assert_is_product(cpu.linear(x, packed), x.double(), meant)


@pytest.mark.parametrize("kind", GROUPED)
def test_inputs_are_read_in_the_weights_order(kind):
    order = torch.randperm(96, generator=torch.Generator().manual_seed(5))
    packed, meant = in_groups(kind, 40, 96, order=order)
    for rows in (1, 3, 60):
        x = random(rows, 96)
        assert_is_product(cpu.linear(x, packed), x.double(), meant)


def test_a_4_bit_weight_is_what_the_reference_makes_of_it():
    """Scales of 16 bits times values of 4 are exact in float32, so a product with one input is as well."""
    values = integers(0, 16, 32, 64, seed=1, dtype=torch.uint8)
    scales, zeros = random(32, 2, seed=2).half().float(), integers(0, 16, 32, 2, seed=3, dtype=torch.uint8)
    group = torch.arange(64) // 32
    for points in (None, zeros):
        packed = cpu.pack_int4(values, scales, points, 32)
        meant = (values.float() - (8 if points is None else points.float()[:, group])) * scales[:, group]
        assert torch.equal(cpu.linear(torch.eye(64), packed).T, meant)


@pytest.mark.parametrize("kind", KINDS)
def test_a_rows_product_does_not_depend_on_the_rows_beside_it(kind):
    packed, _ = weight(70, 256, kind)
    x = random(100, 256)
    whole = cpu.linear(x, packed)
    for start, stop in ((0, 1), (5, 7), (30, 48), (0, 6), (90, 100)):
        assert torch.equal(cpu.linear(x[start:stop], packed), whole[start:stop])


@pytest.mark.parametrize("inputs", [4, 30, 2050])
def test_products_of_bytes_are_exact(inputs):
    """The sums pass 2^24, where float32 rounds integers: only what comes after the sum does."""
    values = integers(-128, 128, 40, inputs, seed=1, dtype=torch.int8)
    x = integers(-127, 128, 9, inputs).float()
    x[:, 0] = 127  # the scale is 1
    values[:, -1], x[:, -1] = -128, -127
    packed = cpu.pack_int8(values, torch.ones(40), rounds_inputs=True)
    assert torch.equal(cpu.linear(x, packed), (x.long() @ values.long().T).float())


def test_halves_are_rounded_to_even_and_zeros_stay_zeros():
    x = torch.zeros(2, 8)
    x[0] = torch.tensor([127, 0.5, 1.5, 2.5, -0.5, -1.5, -2.5, 126.5])
    packed = cpu.pack_int8(torch.eye(8, dtype=torch.int8), torch.ones(8), rounds_inputs=True)
    assert cpu.linear(x, packed).tolist() == [[127, 0, 2, 2, 0, -2, -2, 126], [0] * 8]


def test_every_float_between_two_of_e4m3_is_rounded_like_torch():
    values = torch.arange(127, dtype=torch.uint8).view(torch.float8_e4m3fn).float()
    middles = (values[:-1] + values[1:]) / 2
    near = torch.cat([values, middles, middles.nextafter(torch.tensor(1e9)), middles.nextafter(torch.tensor(0.0))])
    near = torch.cat([near, -near, torch.tensor([448.0])])
    for column in range(0, len(near), 8):
        x = torch.cat([near[column : column + 8], torch.tensor([448.0])])[None]
        packed = cpu.pack_fp8(torch.eye(x.shape[1]).to(torch.float8_e4m3fn), torch.ones(x.shape[1]), rounds_inputs=True)
        assert torch.equal(cpu.linear(x, packed), x.to(torch.float8_e4m3fn).float())


def test_what_is_not_a_number_stays_visible():
    x = random(2, 32)
    x[0, 3] = float("nan")
    for kind in KINDS:
        out = cpu.linear(x, weight(16, 32, kind)[0])
        assert out[0].isnan().all(), kind
        assert out[1].isfinite().all(), kind


@pytest.mark.parametrize(("group_size", "groups"), [(12, 8), (32, 2)])
def test_groups_that_do_not_fit_are_refused(group_size, groups):
    for pack, dtype in ((cpu.pack_int4, torch.uint8), (cpu.pack_int8_groups, torch.int8)):
        with pytest.raises(UnsupportedInput, match="groups of a multiple of 8"):
            pack(torch.zeros(16, 96, dtype=dtype), torch.ones(16, groups), None, group_size)


@pytest.mark.skipif(platform.machine() != "x86_64", reason="these are names of x86-64 processors")
@pytest.mark.parametrize("processor", ["x86-64", "x86-64-v3", "x86-64-v3 -mavxvnni"])
def test_what_is_built_for_another_processor(processor, monkeypatch):
    """Multiply bytes without dot products, and with those of AVX2: integers are the same to the bit."""
    if "vnni" in processor and "avx_vnni" not in Path("/proc/cpuinfo").read_text(encoding="ascii"):
        return  # its code cannot run here
    name, *more = processor.split()
    native = {kind: cpu.linear(random(11, 136), weight(70, 136, kind)[0]) for kind in KINDS}
    monkeypatch.setattr(build, "FLAGS", (*(flag.replace("native", name) for flag in build.FLAGS), *more))
    cached = (build.library, cpu.function)
    for function in cached:
        function.cache_clear()
    try:
        for kind in KINDS:
            packed, meant = weight(70, 136, kind)
            x = random(11, 136)
            result = cpu.linear(x, packed)
            assert_is_product(result, rounded(x, kind), meant)
            assert all(torch.equal(cpu.linear(x[:count], packed), result[:count]) for count in range(1, 11))
            if kind == "int8 inputs":
                assert torch.equal(result, native[kind])
    finally:
        for function in cached:
            function.cache_clear()


def test_weights_share_chunks_of_huge_pages():
    """Two weights lie in one chunk, each from a line of the cache on, and a chunk is aligned like a huge page."""
    first, second = (memory.empty((3, 5), torch.float32) for _ in range(2))
    assert first.untyped_storage().data_ptr() == second.untyped_storage().data_ptr()
    assert second.data_ptr() - first.data_ptr() == memory.LINE
    large = memory.empty((memory.CHUNK + 1,), torch.int8)
    assert large.data_ptr() % memory.PAGE == 0
    assert len(large) == memory.CHUNK + 1
    assert torch.equal(memory.placed(torch.eye(4)), torch.eye(4))


def test_float32_reference_is_within_tolerance():
    """The tolerance above is one that torch's own product keeps as well."""
    x, (_, meant) = random(5, 256), in_groups("int4", 64, 256)
    assert_is_product(F.linear(x, meant.float()), x.double(), meant)
