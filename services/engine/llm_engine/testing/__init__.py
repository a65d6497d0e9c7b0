"""What tests of several projects need of the engine."""
