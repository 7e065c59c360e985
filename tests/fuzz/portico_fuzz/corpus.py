"""What real clients and servers say.

Rule of this file: text only, as it stands on the wire; targets cut, mix and spoil it.
"""

from __future__ import annotations

import base64

PASSWORD = b"Xyzzy-1984"
"""Appears in what clients say to sign in; it may appear in nothing but what is sent to a server."""


def _b64(octets: bytes) -> bytes:
    return base64.b64encode(octets)


_BEARER = b"auth=Bearer " + PASSWORD + b"\x01\x01"

SASL_RESPONSES = (
    b"user=alice\x01" + _BEARER, b"n,a=alice,\x01" + _BEARER,
    b"\0alice\0" + PASSWORD, b"admin\0alice\0" + PASSWORD, b"alice", PASSWORD, b"user=alice\x01" + _BEARER,
    b"n,a=alice=3Dx,\x01host=h\x01port=143\x01" + _BEARER, b"", b"n,,n=alice,r=fyko+d2lbbFgONRv9qkxdawL", b"c=biws,r=3rfcNHYJY1ZVvWVs7j,p=v0X8",
    b"alice d41d8cd98f00b204e9800998ecf8427e", b'username="alice",realm="x",nonce="y",response=1', b"\x01",
)  # fmt: skip

SECRETS = (PASSWORD.decode(), *(_b64(octets).decode() for octets in SASL_RESPONSES if PASSWORD in octets))
"""The password in all its forms."""

IMAP_BEFORE_LOGIN = (
    b"CAPABILITY\r\n", b"NOOP\r\n", b"ID NIL\r\n", b'ID ("name" "Thunderbird" "version" {3+}\r\n115 "os" NIL)\r\n', b"STARTTLS\r\n",
    b"SELECT INBOX\r\n", b"LOGOUT\r\n", b"X-UNKNOWN\r\n", b'ID ("x-session-id" "forged")\r\n',
    b'ID ("x-originating-ip" "203.0.113.9" "x-originating-port" "5" "x-proxy-ttl" "2" "x-session-id" "a b")\r\n', b"LOGIN alice\r\n", b"UID FETCH 1 FLAGS\r\n",
)  # fmt: skip
IMAP_SIGN_IN = (
    b'LOGIN alice "' + PASSWORD + b'"\r\n',
    b"LOGIN alice@example.org " + PASSWORD + b"\r\n",
    b"LOGIN {5+}\r\nalice {10+}\r\n" + PASSWORD + b"\r\n",
    b"LOGIN {5}\r\nalice {10}\r\n" + PASSWORD + b"\r\n",
    b'LOGIN "al\\"ice" {10+}\r\n' + PASSWORD + b"\r\n",
    b"AUTHENTICATE PLAIN " + _b64(b"\0alice\0" + PASSWORD) + b"\r\n",
    b"AUTHENTICATE PLAIN\r\n" + _b64(b"\0alice\0" + PASSWORD) + b"\r\n",
    b"AUTHENTICATE LOGIN\r\n" + _b64(b"alice") + b"\r\n" + _b64(PASSWORD) + b"\r\n",
    b"AUTHENTICATE LOGIN " + _b64(b"alice") + b"\r\n" + _b64(PASSWORD) + b"\r\n",
    b"AUTHENTICATE XOAUTH2 " + _b64(b"user=alice\x01" + _BEARER) + b"\r\n",
    b"AUTHENTICATE OAUTHBEARER " + _b64(b"n,a=alice,\x01" + _BEARER) + b"\r\n",
    b"AUTHENTICATE EXTERNAL =\r\n",
    b"AUTHENTICATE SCRAM-SHA-256 " + _b64(b"n,,n=alice,r=fyko+d2lbb") + b"\r\n",
    b"AUTHENTICATE SCRAM-SHA-256\r\n" + _b64(b"n,,n=alice,r=fyko+d2lbb") + b"\r\n" + _b64(b"c=biws,r=x,p=y") + b"\r\n\r\n",
    b"AUTHENTICATE CRAM-MD5\r\n" + _b64(b"alice d41d8cd98f00b204e9800998ecf8427e") + b"\r\n",
    b"AUTHENTICATE PLAIN\r\n*\r\n",
)
IMAP_COMMANDS = (
    b"SELECT INBOX\r\n", b'EXAMINE "Lists/Python" (CONDSTORE)\r\n', b"SELECT {5}\r\nINBOX\r\n", b"SELECT {5+}\r\nINBOX\r\n", b"NOOP\r\n",
    b"UID FETCH 1:* (UID FLAGS RFC822.SIZE BODY.PEEK[HEADER.FIELDS (From To)])\r\n", b"FETCH 1 BODY.PEEK[]<0.65536>\r\n", b"IDLE\r\nDONE\r\n",
    b"IDLE\r\n", b"DONE\r\n", b"APPEND Sent (\\Seen) {11}\r\nSubject: x\n\r\n", b"APPEND {4+}\r\nSent (\\Seen) {11+}\r\nSubject: x\n\r\n",
    b"APPEND a {2+}\r\nab {3+}\r\ncde\r\n", b"UID SEARCH CHARSET UTF-8 SUBJECT {5+}\r\nhello TEXT {2+}\r\nab\r\n", b"LIST \"\" *\r\n",
    b"CAPABILITY\r\n", b"COMPRESS DEFLATE\r\n", b"STARTTLS\r\n", b"UNAUTHENTICATE\r\n", b"UID STORE 1 +FLAGS (\\Deleted)\r\n", b"CLOSE\r\n",
    b"LOGOUT\r\n", b"LOGIN alice secret\r\n", b"UID\r\n", b"ENABLE QRESYNC\r\n", b"STATUS {3}\r\nfoo (MESSAGES)\r\n", b"DELETE {1}\r\nx\r\n",
    b"IDLE x\r\n", b"NOOP {9+}\r\na9 NOOP\r\n\r\n", b"FROB {9}\r\na9 NOOP\r\n\r\n", b"CREATE {0003+}\r\nabc\r\n", b"CREATE {3-}\r\nabc\r\n",
    b"COMPRESS {70000}\r\n", b"REPLACE 1 {1+}\r\nx {3+}\r\nabc\r\n", b"APPEND {2+}\r\nab {3+}\r\ncde\r\n", b"AUTHENTICATE PLAIN\r\n",
    b"APPEND x {70000+}\r\n", b"SEARCH TEXT {70000}\r\n", b"SEARCH TEXT {99999999999}\r\n", b'CREATE "a\\"b"\r\n',
)  # fmt: skip
IMAP_GREETINGS = (
    b"* OK [CAPABILITY IMAP4rev1 SASL-IR ID LITERAL+ AUTH=PLAIN AUTH=LOGIN AUTH=XOAUTH2] Dovecot ready.\r\n", b"* OK Courier ready.\r\n",
    b"* OK [CAPABILITY IMAP4rev1 STARTTLS LOGINDISABLED] Cyrus ready.\r\n", b"* PREAUTH hello\r\n", b"* BYE too busy\r\n",
    b"* BYE [UNAVAILABLE] later\r\n", b"+OK POP3 here\r\n", b"* OK [ALERT] maintenance\r\n* OK more\r\n",
)  # fmt: skip
IMAP_ANSWERS = (
    b"OK done\r\n", b"OK [CAPABILITY IMAP4rev1 IDLE LITERAL+ MOVE] Logged in\r\n", b"OK [CAPABILITY IMAP4rev1 COMPRESS=DEFLATE X-ODD] in\r\n",
    b"OK [READ-WRITE] Select completed.\r\n", b"OK\r\n", b"BAD no\r\n", b"NO [AUTHENTICATIONFAILED] Authentication failed.\r\n",
    b"OK [CAPABILITY IMAP4rev1 UNAUTHENTICATE LITERAL-] in\r\n", b"NO [CAPABILITY IMAP4rev1] no\r\n", b"OK [ALERT] soon\r\n",
    b"NO [UNAVAILABLE] Temporary failure\r\n", b"NO [REFERRAL imap://x/] elsewhere\r\n", b"NO {5}\r\n", b"OK [APPENDUID 1 2] {9}\r\n",
)  # fmt: skip
IMAP_UNTAGGED = (
    b"* CAPABILITY IMAP4rev1 SASL-IR ID AUTH=PLAIN COMPRESS=DEFLATE\r\n", b"* 5 EXISTS\r\n", b"* 3 EXPUNGE\r\n", b"* VANISHED (EARLIER) 1:9\r\n",
    b"* 1 FETCH (UID 7 FLAGS (\\Seen) RFC822.SIZE 4286)\r\n", b"* 2 FETCH (UID 8 BODY[HEADER.FIELDS (From To)] {12}\r\nFrom: a@b\r\n\r\n)\r\n",
    b'* 3 FETCH (ENVELOPE ("Tue, 5 Mar 2024" "=?utf-8?q?x?=" NIL NIL NIL NIL NIL NIL NIL "<a@b>") RFC822.SIZE 9 UID 10)\r\n',
    b"* 4 FETCH (BODY[] {9}\r\na7 OK x\r\n UID 11)\r\n", b"* 5 FETCH (BINARY[1] ~{4}\r\n\0\r\n\xff)\r\n", b"* LIST (\\HasNoChildren) \"/\" {5}\r\nINBOX\r\n",
    b"* OK [CAPABILITY IMAP4rev1 COMPRESS=DEFLATE] again\r\n", b"* OK still here\r\n", b"* BYE Logging out\r\n", b"* ID (\"name\" \"Dovecot\")\r\n",
    b"+ idling\r\n", b"+ OK\r\n", b"+ \r\n", b"+ cj1meWtvLHM9eCxpPTQwOTY=\r\n", b"* SEARCH 1 2 3\r\n", b"odd\r\n", b"\r\n", b"* OK [ALERT] disk\r\n",
    b'* 6 FETCH (BODYSTRUCTURE (("TEXT" "PLAIN" NIL NIL NIL "7BIT" 5 1)("TEXT" "HTML" NIL NIL NIL "7BIT" 5 1) "MIXED") UID 12)\r\n',
    b"* 7 FETCH (UID 13 BODY[] {100000}\r\n", b"* 8 fetch (uid 14 flags ())\n",
)  # fmt: skip

POP3_BEFORE_LOGIN = (
    b"CAPA\r\n", b"NOOP\r\n", b"STLS\r\n", b"QUIT\r\n", b"STAT\r\n", b"UTF8\r\n", b"LANG *\r\n", b"AUTH\r\n", b"XCLIENT ADDR=1.2.3.4\r\n",
    b"XCLIENT ADDR=IPV6:2001:db8::9 PORT=5 SESSION=outer TTL=2 FORWARD=Zm9v\r\n", b"XCLIENT TTL=1 PORT=x\r\n", b"USER\r\n",
    b"PASS\r\n", b"X\r\n", b"APOP alice c4c9334bac560ecc979e58001b3e22fb\r\n",
)  # fmt: skip
POP3_SIGN_IN = (
    b"USER alice\r\nPASS " + PASSWORD + b"\r\n",
    b"USER alice\r\nUSER bob\r\nPASS " + PASSWORD + b"\r\n",
    b"AUTH PLAIN " + _b64(b"\0alice\0" + PASSWORD) + b"\r\n",
    b"AUTH PLAIN\r\n" + _b64(b"\0alice\0" + PASSWORD) + b"\r\n",
    b"AUTH LOGIN\r\n" + _b64(b"alice") + b"\r\n" + _b64(PASSWORD) + b"\r\n",
    b"AUTH XOAUTH2 " + _b64(b"user=alice\x01" + _BEARER) + b"\r\n",
    b"AUTH OAUTHBEARER " + _b64(b"n,a=alice,\x01" + _BEARER) + b"\r\n",
    b"AUTH EXTERNAL =\r\n",
    b"AUTH SCRAM-SHA-256 " + _b64(b"n,,n=alice,r=fyko+d2lbb") + b"\r\n",
    b"AUTH CRAM-MD5\r\n" + _b64(b"alice d41d8cd98f00b204e9800998ecf8427e") + b"\r\n",
    b"APOP alice c4c9334bac560ecc979e58001b3e22fb\r\n",
    b"AUTH PLAIN\r\n*\r\n",
)
POP3_COMMANDS = (
    b"STAT\r\n", b"LIST\r\n", b"LIST 1\r\n", b"UIDL\r\n", b"UIDL 1\r\n", b"RETR 1\r\n", b"TOP 1 5\r\n", b"DELE 1\r\n", b"RSET\r\n", b"NOOP\r\n", b"QUIT\r\n",
    b"CAPA\r\n", b"STAT\r\nLIST\r\nUIDL\r\n", b"UTF8\r\n", b"STLS\r\n", b"LANG\r\n", b"retr 2\n", b"AUTH PLAIN\r\n", b"X\r\n", b"\r\n",
)  # fmt: skip
POP3_GREETINGS = (
    b"+OK Dovecot ready.\r\n", b"+OK <1896.697170952@dbc.mtview.ca.us> ready\r\n", b"-ERR [SYS/TEMP] busy\r\n", b"-ERR [IN-USE] busy\r\n", b"* OK IMAP\r\n",
)  # fmt: skip
POP3_ANSWERS = (
    b"+OK\r\n", b"+OK Logged in.\r\n", b"-ERR [AUTH] Authentication failed.\r\n", b"-ERR [SYS/TEMP] later\r\n", b"-ERR\r\n", b"+OK 2 320\r\n",
    b"+OK\r\nTOP\r\nUIDL\r\nPIPELINING\r\nUSER\r\nSASL PLAIN LOGIN XOAUTH2\r\nXCLIENT ADDR PORT\r\nSTLS\r\n.\r\n", b"+OK\r\n.\r\n",
    b"+OK 2 messages\r\n1 120\r\n2 200\r\n.\r\n", b"+OK 120 octets\r\nSubject: x\r\n\r\n..dot\r\n.not the end\r\nbody\r\n.\r\n", b"+ \r\n", b"+ VXNlcm5hbWU6\r\n",
    b"+OK bare\n.\n", b"odd\r\n", b"+OK\r\nCOMPRESS DEFLATE\r\nX-ODD\r\nUIDL\r\n.\r\n",
)  # fmt: skip
POP3_BODIES = {
    b"CAPA": b"+OK\r\nTOP\r\nUIDL\r\nPIPELINING\r\nUSER\r\nSASL PLAIN LOGIN XOAUTH2\r\nXCLIENT ADDR PORT\r\nSTLS\r\n.\r\n",
    b"LIST": b"+OK 2 messages\r\n1 120\r\n2 200\r\n.\r\n",
    b"UIDL": b"+OK\r\n1 whqtswO00WBw418f9t5JxYwZ\r\n2 QhdPYR:00WBw1Ph7x7\r\n.\r\n",
    b"RETR": b"+OK 120 octets\r\nSubject: x\r\n\r\n..dot\r\n.not the end\r\nbody\n.\nmore\r\n.\r\n",
    b"TOP ": b"+OK\r\nSubject: x\r\n\r\n.\r\n",
}
