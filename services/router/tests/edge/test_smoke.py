from __future__ import annotations

import aiohttp

from llm_contract.testing import ScriptedEngine
from llm_router.testing import MODEL, RunningEdge


async def test_it(client: aiohttp.ClientSession) -> None:
    async with ScriptedEngine() as one, ScriptedEngine() as two, RunningEdge(one.url, two.url) as edge:
        body = {"model": MODEL, "prompt": "hi", "max_tokens": 4}
        async with client.post(edge.url + "/v1/completions", json=body) as answer:
            assert answer.status == 200, await answer.text()
            assert (await answer.json())["choices"][0]["text"] == "w0 w1 w2 w3 "
        async with client.post(edge.url + "/v1/completions", json={**body, "stream": True}) as answer:
            assert answer.status == 200
            text = await answer.text()
            assert text.endswith("data: [DONE]\n\n"), text
        for path in ("/health", "/ready", "/-/healthz", "/-/routes", "/-/targets", "/-/status", "/-/", "/metrics", "/v1/models", "/version"):
            async with client.get(edge.url + path) as answer:
                print(path, answer.status, (await answer.text())[:300])
                assert answer.status == 200
