"""The least that settings must say: one IMAP server behind one listener. Rule of this file: nine lines; what a test adds begins at line 10."""

LEAST = """
[servers.mail]
imap = "127.0.0.1:143"
[listeners.imap]
protocol = "imap"
addresses = ["127.0.0.1:1143"]
tls = "none"
plain_login = true
server = "mail"
"""
