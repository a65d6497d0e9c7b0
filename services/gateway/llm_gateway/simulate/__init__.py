"""Replay a day of traffic in virtual time, to judge an ordering policy within seconds.

    llm-gateway simulate --trace AzureLLMInferenceTrace_conv.csv --policy fcfs,composite
    llm-gateway simulate --synthetic poisson --load 1.2 --duration 600 --seed 7 --policy fcfs,aging,composite

The dispatcher, the queue, the policies, the in-flight limits, the KV budget, shedding and the estimator are the
gateway's own. Only time, the engines and the clients are models.

load            requests from traces: Azure, Mooncake, BurstGPT, JSON lines, a result.json of llm-bench
synthetic       requests from a Poisson process
engine_model    a model of an engine: prefill, decode steps, KV cache, preemption
events          the loop: the next arrival or the next event of an engine, whichever is sooner
summary         the figures of each class, and the fairness between tenants
cli             the command

Not modelled: prefix caching, adaptive limits (there are no signals to scrape), `queue_timeout`, the gateway's own
preemption, failures, and clients that hang up.
"""
