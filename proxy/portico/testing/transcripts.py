"""What an ordinary client and an ordinary server say to each other after login.

Rule of this file: made by hand from RFC 9051, RFC 3501 and RFC 1939; each letter passes unchanged where nobody is interested. Commands and
their answers are told apart, because a command that a plugin refuses has no answer of the server.
"""

from __future__ import annotations

from typing import Final

Exchange = tuple[bytes, bytes | tuple[bytes, ...]]
"""What the client says, and what the server says to that (or of itself, where the client says nothing). Several answers: the client
says several commands at once, a line each."""

IMAP_CAPABILITIES: Final = (
    b"IMAP4rev1 SASL-IR LITERAL+ ID ENABLE IDLE NAMESPACE UIDPLUS MOVE SORT THREAD=REFERENCES QUOTA CONDSTORE LIST-EXTENDED LIST-STATUS"
)
POP3_CAPABILITIES: Final = b"CAPA TOP UIDL PIPELINING USER RESP-CODES"

_MAIL: Final = (
    b"From: a@example.org\r\nTo: b@example.org\r\nSubject: =?UTF-8?B?w6RwZmVs?=\r\n\r\n"
    b"a1 OK this is no answer {12}\r\n* 1 EXISTS\r\n)\r\n\r\n--\xc3\xa4\r\n"
)
_STRUCTURE: Final = b'("TEXT" "PLAIN" ("CHARSET" "UTF-8") NIL NIL "8BIT" 77 6 NIL NIL NIL NIL)'
_ENVELOPE: Final = b'("Tue, 1 Sep 2026 09:00:00 +0000" {9}\r\na subject (("A" NIL "a" "example.org")) NIL NIL NIL NIL NIL NIL "<1@x>")'

IMAP: Final[tuple[Exchange, ...]] = (
    (b"a1 CAPABILITY\r\n", b"* CAPABILITY " + IMAP_CAPABILITIES + b"\r\na1 OK done\r\n"),
    (b'a2 ID ("name" "Check" "version" "1")\r\n', b'* ID ("name" "Server")\r\na2 OK done\r\n'),
    (b"a3 ENABLE CONDSTORE\r\n", b"* ENABLED CONDSTORE\r\na3 OK done\r\n"),
    (b"a4 NAMESPACE\r\n", b'* NAMESPACE (("" "/")) NIL (("Public/" "/"))\r\na4 OK done\r\n'),
    (
        b'a5 LIST (SUBSCRIBED) "" "*" RETURN (CHILDREN)\r\n',
        b'* LIST (\\HasNoChildren) "/" INBOX\r\n* LIST (\\HasChildren) "/" {9}\r\nE&APw-ber\r\n'
        b'* LIST () "/" "with \\"quotes\\""\r\na5 OK done\r\n',
    ),
    (b'a6 LSUB "" "%"\r\n', b'* LSUB () "/" INBOX\r\na6 OK done\r\n'),
    (b"a7 STATUS {5+}\r\nINBOX (MESSAGES UNSEEN)\r\n", b"* STATUS INBOX (MESSAGES 3 UNSEEN 1)\r\na7 OK done\r\n"),
    (b"a8 CREATE Archive\r\n", b"a8 OK done\r\n"),
    (b'a9 RENAME Archive "Old Archive"\r\n', b"a9 OK done\r\n"),
    (b'a10 SUBSCRIBE "Old Archive"\r\n', b"a10 OK done\r\n"),
    (b'a11 UNSUBSCRIBE "Old Archive"\r\n', b"a11 OK done\r\n"),
    (b'a12 DELETE "Old Archive"\r\n', b"a12 NO [NOPERM] not you\r\n"),
    (b"a13 GETQUOTAROOT INBOX\r\n", b'* QUOTAROOT INBOX ""\r\n* QUOTA "" (STORAGE 10 512)\r\na13 OK done\r\n'),
    (
        b"a14 SELECT INBOX (CONDSTORE)\r\n",
        b"* FLAGS (\\Answered \\Flagged \\Deleted \\Seen \\Draft)\r\n* OK [PERMANENTFLAGS (\\Seen \\*)] ok\r\n* 3 EXISTS\r\n* 0 RECENT\r\n"
        b"* OK [UIDVALIDITY 9] ok\r\n* OK [UIDNEXT 8] ok\r\n* OK [HIGHESTMODSEQ 5] ok\r\na14 OK [READ-WRITE] done\r\n",
    ),
    (
        b"a15 FETCH 1:* (UID FLAGS INTERNALDATE RFC822.SIZE ENVELOPE BODYSTRUCTURE)\r\n",
        b'* 1 FETCH (UID 5 FLAGS (\\Seen) INTERNALDATE "01-Sep-2026 09:00:00 +0000" RFC822.SIZE 160 ENVELOPE %b BODYSTRUCTURE %b)\r\n'
        b"* 2 FETCH (UID 6 FLAGS () RFC822.SIZE 7)\r\na15 OK done\r\n" % (_ENVELOPE, _STRUCTURE),
    ),
    (
        b"a16 UID FETCH 5 (BODY.PEEK[] BODY.PEEK[HEADER.FIELDS (SUBJECT)])\r\n",
        b"* 1 FETCH (UID 5 BODY[] {%d}\r\n%b BODY[HEADER.FIELDS (SUBJECT)] {17}\r\nSubject: none\r\n\r\n)\r\na16 OK done\r\n"
        % (len(_MAIL), _MAIL),
    ),
    (b"a17 FETCH 2 BODY[TEXT]<0.5>\r\n", b"* 2 FETCH (FLAGS (\\Seen) BODY[TEXT]<0> {5}\r\na\0b\r\n)\r\na17 OK done\r\n"),
    (b"a18 UID STORE 5 +FLAGS.SILENT (\\Deleted)\r\n", b"* 1 FETCH (UID 5 MODSEQ (6))\r\na18 OK done\r\n"),
    (b"a19 UID SEARCH CHARSET UTF-8 SUBJECT {6+}\r\n\xc3\xa4pfel UNSEEN\r\n", b"* SEARCH 6\r\na19 OK done\r\n"),
    (b"a20 SORT (REVERSE DATE) UTF-8 ALL\r\n", b"* SORT 2 1 3\r\na20 OK done\r\n"),
    (b"a21 UID THREAD REFERENCES UTF-8 ALL\r\n", b"* THREAD (5)(6 7)\r\na21 OK done\r\n"),
    (b"a22 COPY 1 Drafts\r\n", b"a22 OK [COPYUID 3 5 1] done\r\n"),
    (b"a23 UID MOVE 6 Drafts\r\n", b"* OK [COPYUID 3 6 2] moved\r\n* 2 EXPUNGE\r\na23 OK done\r\n"),
    (b"a24 EXPUNGE\r\n", b"* 1 EXPUNGE\r\na24 OK done\r\n"),
    (b'a25 APPEND Drafts (\\Draft) "01-Sep-2026 09:00:00 +0000" {12+}\r\nHello world!\r\n', b"a25 OK [APPENDUID 3 4] done\r\n"),
    (b"a26 APPEND Drafts {7}\r\n", b"+ go on\r\n"),
    (b"a b\r\nc.\r\n", b"a26 OK done\r\n"),
    (b"a27 IDLE\r\n", b"+ idling\r\n"),
    (b"", b"* 2 EXISTS\r\n* OK still here\r\n"),
    (b"DONE\r\n", b"a27 OK done\r\n"),
    (b"a28 NOOP\r\na29 CHECK\r\na30 FETCH 1 FLAGS\r\n", (b"a28 OK\r\n", b"a29 OK done\r\n", b"* 1 FETCH (FLAGS ())\r\na30 OK done\r\n")),
    (b"a31 XUNKNOWN some arguments\r\n", b"* XUNKNOWN answer\r\na31 BAD what?\r\n"),
    (b"a32 CLOSE\r\n", b"a32 OK done\r\n"),
    (b"a33 GETACL INBOX\r\n", b"* ACL INBOX alice lrswipkxtecda\r\na33 OK done\r\n"),
    (b"a34 LOGOUT\r\n", b"* BYE bye\r\na34 OK done\r\n"),
)

POP3: Final[tuple[Exchange, ...]] = (
    (b"CAPA\r\n", b"+OK\r\n" + b"".join(name + b"\r\n" for name in POP3_CAPABILITIES.split()) + b".\r\n"),
    (b"STAT\r\n", b"+OK 2 320\r\n"),
    (b"LIST\r\n", b"+OK 2 messages\r\n1 160\r\n2 160\r\n.\r\n"),
    (b"LIST 1\r\n", b"+OK 1 160\r\n"),
    (b"UIDL\r\n", b"+OK\r\n1 aa\r\n2 bb\r\n.\r\n"),
    (b"UIDL 2\r\n", b"+OK 2 bb\r\n"),
    (b"RETR 1\r\n", b"+OK 160 octets\r\n" + _MAIL + b"..a dot\r\n...\r\n-ERR in the text\r\n\r\n.\r\n"),
    (b"retr 9\r\n", b"-ERR no such message\r\n"),
    (b"TOP 2 1\r\n", b"+OK\r\n" + _MAIL + b".\r\n"),
    (b"TOP 1 0\r\nTOP 2 0\r\n", (b"+OK\r\nSubject: one\r\n\r\n.\r\n", b"+OK\r\nSubject: two\r\n\r\n.\r\n")),
    (b"DELE 1\r\n", b"+OK deleted\r\n"),
    (b"RSET\r\n", b"+OK\r\n"),
    (b"NOOP\r\n", b"+OK\r\n"),
    (b"LAST\r\n", b"-ERR what?\r\n"),
    (b"QUIT\r\n", b"+OK bye\r\n"),
)
"""Both in full; a session is over behind the last one."""
