"""From an operator's file to Serve's configuration, the watch over what follows, and the status."""
