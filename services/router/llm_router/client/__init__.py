"""The command line's way to a running router: its admin API, and tables of what it says. No Ray here."""
