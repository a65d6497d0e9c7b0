"""From a config to the parts of an engine: the machine's limits (sizing) and the loaded models (load)."""
