"""Annotations: blocks inserted into text parts of messages, so that all answers about a message agree.

`outline`: what plugins are told, what they answer. `judge`: asks them. `block`: text as the part is encoded. `annotation`: what is inserted
into one message, and what follows from it. `locate`: where. `splice`: ranges of octets with insertions in them.
"""
