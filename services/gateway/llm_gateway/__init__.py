"""The priority scheduler gateway: an OpenAI-compatible proxy that decides which request an engine runs next.

One file per concept, along the path of a request:

edge, body       what a connection and a request may cost     cli, server    the command; listening, draining
tenants, keys    who sends it                                 app            the parts put together, routes
classes          the promises there are                       settings       the configuration
classify         which one it gets                            reload         a new one, without a restart
rate_limit       requests and tokens per minute               admin          the admin API
estimate         what it will cost                            usage          what each tenant has used
admission        all of the above, in order                   metrics        counters and histograms
queue            who waits                                    sla/           promises kept and broken; the report
policies/        in which order                               tracing, otel  spans
wait_bound       the promise about waiting                    ledger         what a request leaves behind
shedding         who is refused under saturation              fleet/         several gateways as one
preemption       who is pulled back                           simulate/      a day of traffic in seconds
dispatch         late binding of the queue's head             openapi        the document of the API
engines/         slots, limits, budgets, balance, breakers
attempt          one try at an engine, hedged or not          health         probes of engines
relay            the byte path of a stream                    progress       engines that say they are well and are not
replay           a broken stream gone on with elsewhere       scrape         what engines say about themselves
proxy            a request from first byte to last            upstream       the HTTP client towards engines
"""
