"""The commands: each module has `add_NAME(subparsers)`, which sets `run` to a function that returns the exit status.

quantize      a quantised copy of a model
evaluations   evaluate, compare, report
run           all of it, from a model to the report
arguments     types of arguments that they share
"""
