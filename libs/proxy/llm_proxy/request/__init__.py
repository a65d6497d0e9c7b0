"""A client's request: its id, endpoint, body, JSON and form fields, and the hashes of its prompt's start."""
