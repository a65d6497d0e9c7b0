"""Container images: what is in each, how it is built, and what it holds."""
