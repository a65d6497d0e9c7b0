"""Fails test_every_place_exists: the tokenizer has no such method.

A diagram drawn from memory looks the same as one drawn from the code.
"""


def hops() -> list[Hop]:
    return [
        Hop("gateway", "handle POST /v1/completions", "proxy/proxy.py::Proxy.generate"),
        Hop("gateway", "find out whose API key it is", "tenancy/tenants.py::TenantTable.authenticate"),
        Hop("gateway", "make JSON of the body", "llm_proxy/request/body.py::parse"),
        Hop("gateway", "find the request's class and its targets", "request/classify.py::classify"),
        Hop(
            "gateway", "get a slot of an engine, at once or after waiting", "scheduling/dispatch.py::Dispatcher.acquire"
        ),
        Hop("gateway", "take the slot of one engine", "engines/pool.py::EnginePool.take"),
        Hop("gateway", "send the request to that engine", "llm_proxy/upstream/client.py::Upstream.send"),
        Hop("server", "handle the engine's own POST /v1/completions", "server/app.py::Routes.complete"),
        Hop("server", "turn text into token ids", "checkpoint/tokenizer.py::Tokenizer.encode_chat"),
        Hop("server", "make a sequence for each answer", "request/preparation.py::Preparer.prepare"),
        Hop("server", "give the request to the engine's thread", "server/async_engine.py::AsyncEngine._submit"),
        Hop("engine", "give it a number of arrival and queue it", "engine.py::Engine.enqueue"),
        Hop("engine", "plan a step", "scheduler/scheduler.py::Scheduler.schedule"),
        Hop("engine", "look for its prefix in the cache and let it in", "kv_cache/manager.py::KVCacheManager.admit"),
        Hop("engine", "hand out a block of KV memory", "kv_cache/block_pool.py::BlockPool.allocate"),
        Hop("engine", "start the step on the device", "execution/model_runner.py::ModelRunner.launch"),
        Hop(
            "engine", "write tokens, positions and block tables into tensors", "execution/batch.py::BatchBuilder.build"
        ),
        Hop("engine", "run the layers", "execution/decoder.py::DecoderModel.forward"),
        Hop("engine", "share the blocks that the step has filled", "scheduler/scheduler.py::Scheduler.commit"),
        Hop("engine", "draw the next token", "sampling/sampler.py::Sampler.sample"),
        Hop("engine", "turn tokens into text that can be sent", "request/detokenizer.py::Detokenizer.push"),
        Hop(
            "server",
            "bring a step's outputs to the streams of their requests",
            "server/async_engine.py::AsyncEngine._deliver",
        ),
        Hop("server", "make server-sent events of an output", "server/choices.py::TextChoices.events"),
        Hop(
            "gateway",
            "let the engine's events through, and look for token counts",
            "llm_proxy/stream/filter.py::StreamFilter.feed",
        ),
        Hop("gateway", "give the slot back", "llm_proxy/upstream/slot.py::EngineSlot.release"),
    ]
