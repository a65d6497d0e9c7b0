"""A replica with its engine: the child process, its supervisor, its progress."""
