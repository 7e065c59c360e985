"""Processes: one supervisor, its workers, and what passes between them."""
