"""A replica with an edge server: what the edge hears from the controller, and what it asks of it."""
