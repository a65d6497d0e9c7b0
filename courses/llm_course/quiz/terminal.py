"""`./lab quiz`: one attempt in the terminal, noted in the same log as the page's."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from rich.console import Console
from rich.markdown import Markdown
from rich.panel import Panel

from llm_course.progress.log import Log
from llm_course.quiz import code
from llm_course.quiz.questions import Choice, Code, Number, Short
from llm_course.quiz.session import Asked, Verdict, judge_choice, judge_number, judge_short

LETTERS = "abcdefgh"
Ask = Callable[[str], str]
"""Shows a prompt and returns the line that the learner writes."""


class Quit(Exception):
    """The learner leaves; what is answered stays in the log."""


class Terminal:
    def __init__(self, console: Console, ask: Ask, folder: Path) -> None:
        """`folder`: where programs are written to, for the learner to edit."""
        self._console, self._ask, self._folder = console, ask, folder

    def attempt(self, module: int, asked: Sequence[Asked], log: Log, *, whole: bool) -> int:
        """Ask everything, note each answer, and return how many were right; a whole quiz is noted as finished."""
        right = 0
        for number, item in enumerate(asked, 1):
            self._console.rule(f"{number} of {len(asked)}")
            verdict = self.question(item)
            right += verdict.right
            log.add("quiz", str(module), event="answered", question=item.question.id, right=verdict.right)
            self._show(verdict)
        if whole:
            log.add("quiz", str(module), event="finished", score=right, of=len(asked))
        return right

    def question(self, item: Asked) -> Verdict:
        """Show the question until there is an answer to judge."""
        if item.excerpt:
            self._console.print(Markdown(item.excerpt))
        self._console.print(Markdown(item.text(item.question.ask)))
        question = item.question
        if isinstance(question, Choice):
            return self._choice(question, item)
        if isinstance(question, Code):
            return self._code(question)
        while True:
            given = self._read(
                f"Answer{f' in {question.unit}' if isinstance(question, Number) and question.unit else ''}: "
            )
            if isinstance(question, Short):
                return judge_short(question, given)
            assert item.variant is not None
            verdict = judge_number(question, item.variant, given)
            if verdict is not None:
                return verdict
            self._console.print("That is no number.")

    def _choice(self, question: Choice, item: Asked) -> Verdict:
        for letter, option in zip(LETTERS, item.options, strict=False):
            self._console.print(Markdown(f"**{letter}** {option.text}"))
        places = LETTERS[: len(item.options)]
        hint = "one letter" if question.kind == "single" else "all that are right, e.g. ac"
        while True:
            letters = {letter for letter in self._read(f"Answer ({hint}): ").lower() if letter.isalnum()}
            known = letters and letters <= set(places)
            if known and (question.kind == "multiple" or len(letters) == 1):
                return judge_choice(question, [item.options[places.index(letter)] for letter in sorted(letters)])
            self._console.print(f"Answer with {hint}, of {places[0]} to {places[-1]}.")

    def _code(self, question: Code) -> Verdict:
        self._folder.mkdir(parents=True, exist_ok=True)
        file = self._folder / f"{question.id.replace('-', '_')}.py"
        file.write_text(question.starter, encoding="utf-8")
        self._console.print(Markdown(f"```python\n{question.starter}\n```"))
        self._read(f"Edit {file}, then press Enter. ")
        run = code.run(question, file.read_text(encoding="utf-8"))
        reasons = [question.why] if run.passed else [run.message, question.why]
        return Verdict(run.passed, reasons, f"\n```python\n{question.solution}\n```")

    def _read(self, prompt: str) -> str:
        """Return what the learner writes, and again until it is something; Quit at its end or for `q`."""
        while True:
            try:
                line = self._ask(prompt)
            except EOFError:
                raise Quit from None
            if line.strip().lower() == "q":
                raise Quit
            if line.strip() or prompt.startswith("Edit"):
                return line

    def _show(self, verdict: Verdict) -> None:
        style, word = ("green", "Right") if verdict.right else ("red", "No")
        lines = [] if verdict.right or not verdict.answer else [f"The answer: {verdict.answer}"]
        self._console.print(Panel(Markdown("\n\n".join([*lines, *verdict.reasons])), title=word, border_style=style))
