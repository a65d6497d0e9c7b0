"""Questions from YAML, in the page and in the terminal.

questions   the kinds of questions and what a quiz file holds
reading     a file to a quiz, with errors that name question and field
formula     arithmetic of number questions, and the parameters they are drawn from
recorded    trace questions: answers looked up in a recorded trace
session     one attempt: order, positions, parameters, and the judgement of an answer
code        answers that are programs, run with hidden assertions
lint        weak distractors
page        the browser's data
terminal    `./lab quiz`
"""
