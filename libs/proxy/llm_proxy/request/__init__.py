"""A client's request: its endpoint, its body, its JSON fields, and the hashes of its prompt's start."""
