"""What a learner did: a log of events that terminal and browser write in the same form, and what follows from it."""

from llm_course.progress.log import Event, Log

__all__ = ["Event", "Log"]
