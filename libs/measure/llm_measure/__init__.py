"""Measuring, as the benchmarks of all services do it. No service imports it.

processes   servers as processes: each prints its URL or answers when it is ready, and ends with its block
peers       environments of other projects' servers, each from a lock of its own
load        a cheap load client in a process of its own: requests per second, latencies, gaps between events
traffic     a load whose every answer is checked, word by word
results     results on disk: the figures, the machine, the versions, the commit; bars that they must hold
stats       percentiles of times, in milliseconds; Holm's correction of p-values
"""
