"""Game days: inject a fault, and compare what is seen with what the runbook says."""
