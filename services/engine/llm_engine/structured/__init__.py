"""Structured output: text that follows a JSON schema, a regular expression, a choice or a grammar."""
