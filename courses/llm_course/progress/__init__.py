"""A learner's progress.

log          events, in the same form from terminal and browser; everything else follows from them
summary      exercises, quizzes, cards, deliverables, criteria, module by module
hours        time spent
calibration  predictions against what was measured
marks        ticks of criteria and deliverables
outline      the outline as the browser reads it
"""

from llm_course.progress.log import Event, Log

__all__ = ["Event", "Log"]
