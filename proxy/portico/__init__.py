"""Portico: a plugin-extensible, TLS-terminating POP3/IMAP4 proxy."""

__version__ = "0.1.0"
