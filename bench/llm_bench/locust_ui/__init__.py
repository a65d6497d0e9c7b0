"""The bench in locust's own console and web UI; `bench/locustfile.py` puts it together.

rows     TTFT, TPOT and ITL as a table, with percentiles to four digits
stats    those rows in locust's statistics
share    every process of locust's master and workers sends its share of one schedule
history  how the rows went, over the last minutes
charts   pictures of that
web      a tab of locust's web UI with the table, the charts and a CSV
"""
