"""Whole runs, from the scenario to the result on disk: one (run), several in a row (series), many rates (sweep), and a
closed loop that keeps the target busy (closed_loop)."""
