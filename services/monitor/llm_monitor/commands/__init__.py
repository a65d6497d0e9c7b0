"""The commands of `llm-monitor` besides `serve` and `replay`, which are the server's."""
