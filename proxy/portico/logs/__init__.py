"""Answers from logs, by DuckDB: the questions, the view that they are asked of, and how the answers look."""
