"""The engines that one edge knows, and their live state."""
