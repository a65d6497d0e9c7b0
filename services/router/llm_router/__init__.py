"""The router: many engines on many GPUs behind one OpenAI-compatible address.

Its layers, from top to bottom. A module imports from its own line and from the lines below, never from above:

cli                           the command
control/                      the control plane on Ray Serve: engines on GPUs, rollouts, scaling. No other imports Ray
client/                       the command line's way to the admin API
edge/                         the data plane: a request from its arrival to its last byte
metrics                       the counters and gauges under /metrics
policies/                     the choice among the engines with room
fleet/                        the engines that one edge knows, and their live state
status                        the state that the admin API and the status page show

`settings` stands outside this order: every package can read it.
"""
