"""`portico demo`: a private Dovecot with a small mailbox, and Portico in front of it."""
