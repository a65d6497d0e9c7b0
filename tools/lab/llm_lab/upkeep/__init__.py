"""What keeps the repository in order: locks, pages and their links, the tests nearest to a change."""
