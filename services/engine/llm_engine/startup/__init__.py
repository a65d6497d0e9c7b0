"""From a configuration to the parts of an engine: what the machine holds (sizing), and everything loaded (load)."""
