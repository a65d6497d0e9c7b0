"""Open-loop load for servers that speak OpenAI's API, and the numbers that follow from it.

What to send
  scenario      arrivals, classes, lengths, SLOs, from a YAML file
  arrivals      when requests arrive, drawn before the clock starts; profiles: rates that change
  replay        recorded arrivals (`llm_traces`), scaled in time and rate; trace_scenario: what `replay` sends
  lengths       how long prompts and outputs are
  prompts       texts cut from a corpus, tokenised ahead of time; dataset: from a file
  compose       unique prompts, shared prefixes, conversations
  schedule      the whole load of one run, drawn from a seed

Sending it
  target        what answers at the URL, looked at before any load
  wire          a planned request as HTTP bytes
  credentials   API keys, from environment variables
  client        bytes out, time-stamped bytes in, on gevent; connection: one of its connections
  load          locust users that send the schedule; tally: how it goes
  distribute    one schedule from several processes (dealing, worker)
  progress      a bar with live percentiles
  send, run     one run, from the scenario to the result on disk
  series, sweep several runs: repetitions, pairs, rates

What came of it
  stream        time-stamped bytes to tokens with arrival times; uncounted: tokens of streams that were cut off
  record        one request's row: times, tokens, outcome
  window        which requests count
  summary       per-class figures; stats: exact percentiles and their intervals
  scrape        the server's own metrics (exposition, server_metrics); loop_lag: the client's event loop
  gpu           GPUs of the client's machine, through NVML
  verdict       whether a run is fit to be quoted, and why not
  results       result.json and requests.csv; keeping: on disks that fill up

What it means
  figures       figures by name
  repetitions   means over runs (student: t distribution); paired: B against A; bootstrap: from single requests
  gate          --fail-if
  capacity      how much the target can do, from a closed loop (full_load); knee: the highest rate that meets the SLOs
  report        tables, HTML pages, Markdown, JSON
  face          locust's own console and web UI

Only what sends (client, load, scrape, loop_lag, face and what imports them) touches gevent and locust; the rest is
plain Python and imports fast.
"""

__version__ = "0.1.0"
