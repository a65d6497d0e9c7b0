"""A running deployment: facts about its containers, what drills do to them, and what clients and operators see."""
