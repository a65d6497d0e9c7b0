"""The priority scheduler gateway: an OpenAI-compatible proxy that decides which request an engine runs next.

Its layers, from top to bottom. A module imports from its own line and from the lines below, never from above:

cli, server, app              the command; listen and drain; build the parts and connect them
simulate/                     a day of traffic in virtual time, through the same scheduler
operations/                   the admin API, reload without restart, access to names, the OpenAPI document
proxy/                        a request from its slot to its last byte: attempts, the relay, replay, the settlement
request/                      from bytes to a job in the queue: body, class, estimate, admission
sla/                          kept and broken promises: record, store, figures, report
metrics                       the counters and gauges under /metrics
watch/                        probes, scrapes and the watch over each engine's progress
telemetry/                    the names of a request's spans; the trace of the queue
fleet/                        several gateways with one order and one set of limits, through Redis
scheduling/                   the bounded queue, its policies, late binding to a free slot, the wait bound, preemption
engines/                      the engines' state: slots, limits, balancing
tenancy/                      tenants, API keys, rate limits, usage
waiting, classes              a waiting request; the priority classes
listeners                     callbacks of an event

HTTP on both sides, streams, breakers and prefixes are `llm_proxy`, which the router shares.
`settings` stands outside this order: it is made of the settings that each package defines, and every package can read
it. `testing` runs a gateway inside a test.
"""
