"""Sizes of messages that are told by estimate.

Rule of this room: what has been told of which message, and who estimates; no protocol, no connection.
"""
