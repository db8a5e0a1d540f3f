"""Trained networks for other runtimes, with a report that compares the answers."""
