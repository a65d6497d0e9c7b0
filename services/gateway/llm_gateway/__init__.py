"""The priority scheduler gateway: an OpenAI-compatible proxy that decides which request an engine runs next.

The packages follow a request from the client's socket to the engine's and back:

edge/         connections: what one may cost, half-closed clients, CORS, the responses that the gateway makes itself
request/      from bytes to a job (body, class, estimate, admission), and a request from first byte to last (proxy)
tenancy/      tenants, API keys, rate limits, usage
scheduling/   the bounded queue, its policies, late binding to a free slot, the proof of the wait bound, preemption
engines/      the back ends: slots, limits, breakers, balancing, prefixes; watch/ probes and scrapes them
upstream/     HTTP to an engine, one try at it, its stream relayed, filtered, and resumed at another engine
telemetry/    spans, and the ledger: everything that a finished request leaves behind
sla/          promises kept and broken: record, store, figures, report
fleet/        several gateways with one order and one set of limits, through Redis
operations/   the admin API, reload without restart, who may see names, the OpenAPI document
simulate/     a day of traffic in virtual time, on the same scheduler

At the top: cli and server (start, listen, drain), app (the parts put together), settings, metrics.
"""
