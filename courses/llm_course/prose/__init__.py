"""Text that learners read, in quizzes and cards.

figures      `{name}` becomes a number from a results file
references   paths and symbols that a text names, and whether they exist
html         Markdown for the browser
"""
