"""The course: its pages, exercises, quizzes and cards, and the commands that a learner works with.

syllabus    the outline as data: modules, topics, exercises, criteria, deliverables
counting    the command line of each module's counted.py
fault_runs  prompts and runs for the hidden tests of faults
site        pages: code and figures from their sources, generated pages, the build
exercises   starters from solutions, the watch loop, gates, the learner's own engine
quiz        questions from YAML, in the page and in the terminal
cards       spaced repetition, in the page and as an Anki deck
prose       figures and references in texts, Markdown for the browser
traces      recordings of the engine for the pictures
progress    what a learner did: one log, shared by terminal and browser
"""

__version__ = "1.0.0"
