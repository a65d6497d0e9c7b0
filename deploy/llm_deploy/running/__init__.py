"""A running deployment: its containers as they are, the faults that a drill needs, and what clients and operators see."""
