"""The meaning of runs, alone and together.

figures                         figures by name, such as `interactive.ttft_p99`
repetitions, t_distribution     means over runs, with their intervals
paired, bootstrap               B against A; ratios of percentiles within single runs
conditions                      conditions that fail a run, for CI: `--fail-if`
capacity, knee                  how much the target can do; the highest rate that meets the SLOs
"""
