"""Conclusions from runs, one at a time or several together.

figures                         figures by name, such as `interactive.ttft_p99`
repetitions, t_distribution     means over runs, with their intervals
paired, bootstrap               B against A; ratios of percentiles within single runs
conditions                      conditions that fail a run, for CI: `--fail-if`
capacity, knee                  the target's throughput at saturation; the highest rate that meets the SLOs
"""
