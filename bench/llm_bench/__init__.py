"""Open-loop load for servers that speak OpenAI's API, and the numbers that follow from it.

workload/     what to send, drawn before the clock starts: scenario, arrivals, lengths, prompts, the schedule
client/       one request on the wire: the target, its bytes, the connections, time stamps
load/         many requests: locust users that send the schedule from one process or several
measure/      what came of it: streams to tokens, one record a request, percentiles, the server's metrics, the verdict
results/      a run on disk, even on a disk that fills up
runs/         whole runs: one, repetitions, pairs, sweeps over rates, a closed loop
analyse/      what runs mean together: intervals, paired comparison, conditions for CI, capacity, the knee
report/       tables, HTML pages, Markdown
locust_ui/    locust's own console and web UI

At the top: cli (what can be asked), commands (what is done), arguments, errors, interrupts.

Only client, load, measure.scrape and locust_ui, and what imports them, touch gevent and locust; the rest is plain
Python and imports fast.
"""

__version__ = "0.1.0"
