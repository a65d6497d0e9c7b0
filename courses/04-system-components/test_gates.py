from pathlib import Path

from llm_course.exercises.gates import module_complaints


def test_every_gate_holds() -> None:
    assert module_complaints(Path(__file__).parent) == []
