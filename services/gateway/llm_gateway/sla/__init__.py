"""Service levels: every request is compared with the targets of its class, stored, summarised and reported.

record      one finished request and its verdict        window      the rows of a time span as columns
tracker     the hot path and the thread behind it       summary     attainment, percentiles, fairness
store       the SQLite file, bounded and robust         report/     the summary as a page with charts
routes      /sla and /sla/report
"""
