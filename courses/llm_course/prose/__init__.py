"""Text that learners read, in pages, quizzes and cards.

figures      numbers come from results files
claims       what a text says about vLLM names a file and a symbol of it
references   paths and symbols that a text names, and whether they exist
html         Markdown for the browser
"""
