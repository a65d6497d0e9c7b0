"""Everything that services share on the wire: types, the SSE codec, header and metric names, settings, logs.

headers           request and response header names
errors            OpenAI's error object, and the one table from error kind to HTTP status
openai            request and response bodies of the completions and chat APIs
sse               server-sent events, written and read
exposition        Prometheus' text format, read
metrics           vLLM's metric names, with their labels and buckets
gateway_metrics   the gateway's own
router_metrics    the router's own
monitor_metrics   the monitor's, about its targets, GPUs and itself
settings          one configuration model per service, from YAML, environment and flags
logs              text or JSON lines, with the ids of the request that a line concerns
testing           test doubles; no service imports them
"""
