"""The exercises: one solution is the truth, and starter, wrong solutions and gates follow from it.

exercise    a folder of `courses/NN-module/exNN_name`, and what its exercise.toml says
regions     solution to starter: marked regions are what the learner writes
graft       one file's definitions put into another: wrong solutions, changes of the engine
subject     the file that the tests see as `exercise`: the learner's, the solution, the starter or a wrong one
overlay     an engine of which some modules come from elsewhere
grading     tests run on a subject, and what came of them
gates       what must hold of every exercise, for CI
work        the learner's folder: nothing in it is ever lost
session     one learner at one exercise: run, hint, predict, reset, next
watch       save, run, read: the loop at a terminal
faults      defects to be found in a running engine
"""
