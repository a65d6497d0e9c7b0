"""The watch over engines: a loop over all of them, and the questions that it asks one."""
