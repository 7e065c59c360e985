"""Mailboxes of further servers (stores) in the user's tree.

Rule of this room: what a mount is and how names are told apart and mapped; no protocol, no connection.
"""
