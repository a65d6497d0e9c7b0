"""The bench in locust's own console and web UI; `bench/locustfile.py` assembles it.

rows     TTFT, TPOT and ITL as a table, with percentiles to four digits
stats    those rows in locust's statistics
share    every process of locust's master and workers sends its share of one schedule
history  the rows' values over the last minutes
charts   their charts
web      a tab of locust's web UI with the table, the charts and a CSV
"""
