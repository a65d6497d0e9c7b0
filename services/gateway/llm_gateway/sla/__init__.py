"""Whether the promises to the classes are kept: every request against its targets, stored, summed up and shown.

record      one finished request, and its verdict       window      the rows of a time span, as columns
tracker     the hot path, and the thread behind it      summary     attainment, percentiles, fairness
store       the SQLite file, bounded and robust         report/     the same as a page with charts
routes      /sla and /sla/report
"""
