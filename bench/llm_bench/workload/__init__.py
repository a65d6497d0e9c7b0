"""The workload: everything that is sent, drawn from a seed before the clock starts.

scenario              arrivals, classes, lengths and SLOs, from a YAML file
arrivals, profiles    when requests arrive; rates that change over the run
recorded              recorded arrivals (`llm_traces`), scaled in time and rate; trace_scenario: a trace as a scenario
lengths               how long prompts and outputs are
prompts, dataset      texts cut from a corpus, or from a file
compose               unique prompts, shared prefixes, conversations
schedule              the complete load of one run
"""
