"""The OpenAI-compatible HTTP server: `build_app` makes the ASGI application, `serve` runs it."""
