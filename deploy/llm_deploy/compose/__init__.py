"""Docker Compose: checks before anything starts, then docker compose."""
