from llm_course.exercises.plugin import pytest_make_collect_report, pytest_runtest_protocol

__all__ = ["pytest_make_collect_report", "pytest_runtest_protocol"]
