"""The parts of a proxy in front of inference engines, shared by the gateway and the router.

edge/         client connections: limits, half-closed clients, CORS, the service's own responses
request/      a request: its body within limits, its endpoint, its prefix, single fields of its JSON
upstream/     an engine: HTTP, its errors, its metrics, the circuit breaker, the budget of retries
stream/       a streamed answer: whole events, the relay, and how it continues at another engine
watch/        questions of our own to engines, and a loop that asks all of them
balance       the choice of an engine by its cost or its prefixes
telemetry/    spans, with OpenTelemetry or without
"""
