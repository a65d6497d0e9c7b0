"""How many engines a model has, and whether a rollout starts new ones first."""
