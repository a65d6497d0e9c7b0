"""The production-readiness checklist, as checks with evidence."""
