"""A decoder in one call against the same kernels called one by one: the same, to the bit."""

import itertools
import platform
import time

import pytest
import torch

from llm_kernels import cpu
from llm_kernels.cpu import build
from llm_kernels.cpu.decoder import KERNELS, FusedDecoder, FusedLayer, Heads

pytestmark = pytest.mark.skipif(
    build.compiler() is None, reason="there is no C++ compiler; tools/debian-packages installs one"
)

HIDDEN, VOCABULARY, BLOCK_SIZE, LAYERS, EPS = 40, 70, 4, 3, 1e-5
HEADS, KV_HEADS, HEAD_DIM = 6, 2, 16
SIZES = (HEADS * HEAD_DIM, KV_HEADS * HEAD_DIM, KV_HEADS * HEAD_DIM)
DECODES = ([1] * 20, [*range(1, 58, 3), 200])
PROMPTS = ([1, 1, 9, 30], [20, 1, 30, 30])
"""Tokens of this step, and all of each sequence."""


def packed(weight, kind):
    """Pack a weight, or one of about its size."""
    outputs, inputs = weight.shape
    if kind == "bfloat16":
        return cpu.pack(weight)
    if kind.startswith("int4"):
        values = (weight * 40 + 8).round().clamp(0, 15).to(torch.uint8)
        shape = (outputs, -(-inputs // 16))
        return cpu.pack_int4(values, torch.full(shape, 1 / 40), torch.full(shape, 7) if "zeros" in kind else None, 16)
    rounds = kind.endswith("inputs")
    if kind.startswith("int8"):
        values = (weight * 100).round().clamp(-128, 127).to(torch.int8)
        return cpu.pack_int8(values, torch.full((outputs,), 0.01), rounds_inputs=rounds)
    return cpu.pack_fp8(weight.to(torch.float8_e4m3fn), torch.ones(outputs), rounds_inputs=rounds)


class Model:
    def __init__(self, seed=0, intermediate=48, biased=False, qk_norms=False, windows=(0,) * LAYERS, **options):
        generator = torch.Generator().manual_seed(seed)
        kinds = itertools.cycle(options.get("kinds", ["bfloat16"]))

        def random(*shape):
            return torch.randn(shape, generator=generator)

        def linear(outputs, inputs):
            weight = (random(outputs, inputs) / inputs**0.5).bfloat16().float()
            return cpu.PackedLinear(packed(weight, next(kinds)), random(outputs) if biased else None)

        self.embedding, self.norm, self.head = random(VOCABULARY, HIDDEN), random(HIDDEN), linear(VOCABULARY, HIDDEN)
        self.cos_sin = random(256, HEAD_DIM)
        self.layers = [
            FusedLayer(
                input_norm=random(HIDDEN),
                qkv=linear(sum(SIZES), HIDDEN),
                qk_norms=(random(HEAD_DIM), random(HEAD_DIM)) if qk_norms else None,
                o=linear(HIDDEN, SIZES[0]),
                mlp_norm=random(HIDDEN),
                gate_up=linear(2 * intermediate, HIDDEN),
                down=linear(HIDDEN, intermediate),
                window=window,
            )
            for window in windows
        ]
        self.activation = options.get("activation", "silu")
        self.embed_scale = options.get("embed_scale", 1.0)

    def fused(self):
        heads = Heads(HEADS, KV_HEADS, HEAD_DIM, self.cos_sin)
        return FusedDecoder(
            self.embedding, self.layers, self.norm, self.head, heads, BLOCK_SIZE, EPS, self.activation, self.embed_scale
        )

    def one_by_one(self, token_ids, positions, slots, tables, context_lens, starts, caches, rows=None):
        x = self.embedding[token_ids] * torch.tensor(self.embed_scale)
        for layer, cache in zip(self.layers, caches, strict=True):
            qkv = layer.qkv(cpu.rms_norm(x, layer.input_norm, EPS))
            query, key, value = qkv.view(len(x), -1, HEAD_DIM).split([HEADS, KV_HEADS, KV_HEADS], dim=1)
            norms = layer.qk_norms or (None, None)
            cpu.rope_paged_kv_write(query, key, value, positions, self.cos_sin, cache, slots, *norms, EPS)
            attended = cpu.paged_attention(query, cache, tables, context_lens, starts, layer.window)
            h = cpu.add_rms_norm(x, layer.o(attended.flatten(1)), layer.mlp_norm, EPS)
            x += layer.down(cpu.gated_activation(layer.gate_up(h), self.activation))
        if rows is not None:
            x = x[rows]
        return self.head(cpu.rms_norm(x, self.norm, EPS))


def unpack(weight):
    """Columns of the identity, one row each: the weight, exactly."""
    return cpu.linear(torch.eye(weight.in_features), weight).T


def batch(tokens, contexts):
    """The arguments of a forward, and caches in which the tokens before are."""
    generator = torch.Generator().manual_seed(1)
    counts = [-(-context // BLOCK_SIZE) for context in contexts]
    blocks = torch.randperm(sum(counts), generator=generator).split(counts)
    tables = torch.zeros(len(contexts), max(counts), dtype=torch.int64)
    positions, slots = [], []
    for row, own, new, context in zip(tables, blocks, tokens, contexts, strict=True):
        row[: len(own)] = own
        at = torch.arange(context - new, context)
        positions.append(at)
        slots.append(own[at // BLOCK_SIZE] * BLOCK_SIZE + at % BLOCK_SIZE)
    token_ids = torch.randint(0, VOCABULARY, (sum(tokens),), generator=generator)
    shape = (sum(counts), BLOCK_SIZE, 2, KV_HEADS, HEAD_DIM)
    caches = [torch.randn(shape, generator=generator) for _ in range(LAYERS)]
    starts = torch.tensor([0, *tokens]).cumsum(0)
    return token_ids, torch.cat(positions), torch.cat(slots), tables, torch.tensor(contexts), starts, caches


@pytest.fixture(params=[1, 2, 3], ids="{} threads".format)
def threads(request):
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


def check(model, tokens, contexts, rows=None):
    rows = None if rows is None else torch.tensor(rows, dtype=torch.int64)
    *arguments, caches = batch(tokens, contexts)
    expected_caches = [cache.clone() for cache in caches]
    expected = model.one_by_one(*arguments, expected_caches, rows)
    assert torch.equal(model.fused()(*arguments, caches, rows), expected)
    assert all(map(torch.equal, caches, expected_caches))
    assert expected.isfinite().all()
    assert len(expected) < 2 or expected.std() > 0.1


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"biased": True, "qk_norms": True, "embed_scale": HIDDEN**0.5},
        {"activation": "gelu_tanh", "windows": (0, 6, 17), "intermediate": 128},
        {"activation": "gelu", "windows": (5, 5, 5), "intermediate": 16},
        {"kinds": ["bfloat16", "int4", "int8", "int4, zeros", "fp8 inputs", "int8 inputs"], "biased": True},
    ],
    ids=["plain", "biases, norms, scale", "some windows", "windows", "all kinds of weights"],
)
@pytest.mark.parametrize(("tokens", "contexts"), [DECODES, PROMPTS], ids=["decodes", "prompts"])
def test_one_call_does_what_many_do(options, tokens, contexts, threads):
    check(Model(**options), tokens, contexts)


@pytest.mark.parametrize("count", [1, 2, 5, 6, 7, 12, 13, 48, 49, 100])
def test_any_number_of_decodes(count, threads):
    check(Model(), [1] * count, [1 + 7 * i % 61 for i in range(count)])


@pytest.mark.parametrize(("tokens", "contexts"), [DECODES, PROMPTS], ids=["decodes", "prompts"])
def test_logits_of_some_tokens(tokens, contexts, threads):
    last = [sum(tokens[: i + 1]) - 1 for i in range(len(tokens))]
    for rows in (last, last[1:], [0], [], [*range(3, sum(tokens))]):
        check(Model(), tokens, contexts, rows)


@pytest.mark.skipif(platform.machine() != "x86_64", reason="these are names of x86-64 processors")
@pytest.mark.parametrize("processor", ["x86-64", "x86-64-v3"])
def test_what_is_built_for_an_older_processor(processor, monkeypatch):
    """An older processor has no vectors of 8 floats, or 16 registers for them. No row's result depends on others."""
    monkeypatch.setattr(build, "FLAGS", tuple(flag.replace("native", processor) for flag in build.FLAGS))
    cached = (build.library, cpu.function)
    for function in cached:
        function.cache_clear()
    try:
        check(Model(biased=True, qk_norms=True), *DECODES)
        check(Model(), *PROMPTS)
        rows = torch.randn(49, 40, generator=torch.Generator().manual_seed(2))
        layer = Model().layers[0].qkv
        exact = torch.nn.functional.linear(rows, unpack(layer.weight))
        torch.testing.assert_close(layer(rows), exact, rtol=1e-5, atol=1e-5)
        assert all(torch.equal(layer(rows[:count]), layer(rows)[:count]) for count in range(1, 20))
    finally:
        for function in cached:
            function.cache_clear()


def test_a_decoder_grows_with_its_batches_and_takes_other_caches():
    model = Model()
    fused = model.fused()
    for tokens, contexts in (DECODES, PROMPTS, ([1], [3]), DECODES):
        *arguments, caches = batch(tokens, contexts)
        assert torch.equal(fused(*arguments, caches), model.one_by_one(*arguments, [cache.clone() for cache in caches]))


def test_time_is_counted_from_when_it_is_asked_for(threads):
    fused = Model().fused()
    *arguments, caches = batch(*PROMPTS)
    fused(*arguments, caches)
    assert fused.seconds() == dict.fromkeys(KERNELS, 0.0)
    begun = time.perf_counter()
    fused(*arguments, caches)
    assert 0 < sum(fused.seconds().values()) < time.perf_counter() - begun
    assert min(fused.seconds().values()) > 0


def test_what_cannot_be_divided_is_refused():
    with pytest.raises(ValueError, match="must be a multiple of a panel's width"):
        Model(intermediate=50).fused()
