"""Measurement: from bytes and times to figures.

stream, uncounted            time-stamped bytes to tokens with arrival times; tokens of streams that were cut off
record                       one request's row: TTFT, TPOT, ITL and latency from its scheduled time
window                       which requests count
summary, stats               figures per class; percentiles and their intervals
scrape, server_metrics       the server's own metrics, and whether they agree with ours; histograms
gpu                          GPUs of the client's machine, through NVML
verdict                      whether a run is fit to be quoted, and why not
"""
