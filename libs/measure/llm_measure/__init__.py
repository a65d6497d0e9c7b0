"""What the services' benchmarks share. No service imports it.

processes   servers as processes: each prints its URL or answers when it is ready, and ends with its block
peers       environments of other projects' servers, each from a lock of its own
load        a cheap load client in a process of its own: requests per second, latencies, gaps between events
traffic     a load whose every answer is checked, word by word: what was lost, when, and how long clients waited
results     results on disk: the figures, the machine, the versions, the commit; bars that they must hold
stats       percentiles of times, in milliseconds
"""
