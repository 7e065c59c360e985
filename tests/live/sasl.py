"""SASL as a client speaks it, for IMAP and POP3.

Rule of this file: nothing of Portico's is used, so that both do not share a mistake. RFC 4616 (PLAIN), RFC 5802 and 7677 (SCRAM),
RFC 2195 (CRAM-MD5), RFC 2831 (DIGEST-MD5), RFC 7628 (OAUTHBEARER); LOGIN and XOAUTH2 as they are used.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import re
import secrets
import time
from collections.abc import Callable, Generator

from tests.live.dialogue import Dialogue

Exchange = Generator[bytes, bytes, None]
"""Yields the client's responses and is sent the server's challenges; the first thing it is sent is nothing where the client begins."""


def plain(user: str, password: str) -> Exchange:
    yield b"\0%b\0%b" % (user.encode(), password.encode())


def login(user: str, password: str) -> Exchange:
    yield user.encode()
    yield password.encode()


def xoauth2(user: str, token: str) -> Exchange:
    yield b"user=%b\x01auth=Bearer %b\x01\x01" % (user.encode(), token.encode())
    yield b""  # to the error in a challenge


def oauthbearer(user: str, token: str) -> Exchange:
    yield b"n,a=%b,\x01auth=Bearer %b\x01\x01" % (user.encode(), token.encode())
    yield b"\x01"


def cram_md5(user: str, password: str) -> Exchange:
    challenge = yield b""
    yield b"%b %b" % (user.encode(), hmac.new(password.encode(), challenge, hashlib.md5).hexdigest().encode())


def digest_md5(user: str, password: str) -> Exchange:
    challenge = (yield b"").decode()
    nonce, realm = (re.search(rf'{name}="([^"]*)"', challenge) for name in ("nonce", "realm"))
    assert nonce is not None
    name, where, uri = realm[1] if realm else "", "00000001", "imap/localhost"
    cnonce = secrets.token_hex(8)

    def md5(octets: bytes) -> bytes:
        return hashlib.md5(octets).hexdigest().encode()

    first = hashlib.md5(f"{user}:{name}:{password}".encode()).digest() + f":{nonce[1]}:{cnonce}".encode()
    middle = f":{nonce[1]}:{where}:{cnonce}:auth:".encode()
    answer = md5(md5(first) + middle + md5(f"AUTHENTICATE:{uri}".encode()))
    proof = yield (
        f'username="{user}",realm="{name}",nonce="{nonce[1]}",cnonce="{cnonce}",nc={where},qop=auth,digest-uri="{uri}",'
        f"response={answer.decode()},charset=utf-8"
    ).encode()
    # RFC 2831 2.1.3: the server proves that it knows the password too.
    assert proof == b"rspauth=" + md5(md5(first) + middle + md5(f":{uri}".encode()))
    yield b""


def scram_sha_256(user: str, password: str) -> Exchange:
    nonce = base64.b64encode(secrets.token_bytes(18)).decode()
    bare = f"n={user},r={nonce}"
    challenge = (yield f"n,,{bare}".encode()).decode()
    fields = dict(part.split("=", 1) for part in challenge.split(","))
    assert fields["r"].startswith(nonce)
    final = f"c=biws,r={fields['r']}"
    said = f"{bare},{challenge},{final}".encode()
    salted = hashlib.pbkdf2_hmac("sha256", password.encode(), base64.b64decode(fields["s"]), int(fields["i"]))

    def sign(key: bytes, octets: bytes) -> bytes:
        return hmac.new(key, octets, hashlib.sha256).digest()

    key = sign(salted, b"Client Key")
    signature = sign(hashlib.sha256(key).digest(), said)
    proof = bytes(left ^ right for left, right in zip(key, signature, strict=True))
    proved = yield f"{final},p={base64.b64encode(proof).decode()}".encode()
    # RFC 5802 3: nobody between could have made this up.
    assert proved == b"v=" + base64.b64encode(sign(sign(salted, b"Server Key"), said))
    yield b""


MECHANISMS: dict[str, Callable[[str, str], Exchange]] = {
    "PLAIN": plain,
    "LOGIN": login,
    "XOAUTH2": xoauth2,
    "OAUTHBEARER": oauthbearer,
    "CRAM-MD5": cram_md5,
    "DIGEST-MD5": digest_md5,
    "SCRAM-SHA-256": scram_sha_256,
}
SERVER_FIRST = frozenset(("LOGIN", "CRAM-MD5", "DIGEST-MD5"))
BEARER = frozenset(("XOAUTH2", "OAUTHBEARER"))


def token(user: str, key: bytes, *, seconds: int = 600) -> str:
    """A bearer token (RFC 7519) that says who somebody is, signed with a key that the server has too."""

    def encoded(octets: bytes) -> str:
        return base64.urlsafe_b64encode(octets).decode().rstrip("=")

    now = int(time.time())
    head = json.dumps({"alg": "HS256", "typ": "JWT"})
    claims = json.dumps({"sub": user, "iat": now - 5, "nbf": now - 5, "exp": now + seconds})
    text = f"{encoded(head.encode())}.{encoded(claims.encode())}"
    return f"{text}.{encoded(hmac.new(key, text.encode(), hashlib.sha256).digest())}"


def authenticate(talk: Dialogue, protocol: str, mechanism: str, user: str, secret: str, *, initial: bool = False) -> bytes:
    """Sign in; the final answer. `initial`: the first response goes along with the command (RFC 4959, RFC 5034)."""
    exchange = MECHANISMS[mechanism](user, secret)
    first = next(exchange)
    command = b"a AUTHENTICATE " if protocol == "imap" else b"AUTH "
    command += mechanism.encode()
    if initial:
        assert mechanism not in SERVER_FIRST
        command += b" " + base64.b64encode(first)
    talk.send(command + b"\r\n")
    asked = initial
    while True:
        line = talk.line()
        if line.startswith((b"a ", b"+OK", b"-ERR")):
            return line
        if line.startswith(b"* "):
            continue
        challenge = base64.b64decode(line[1:].strip())
        if asked or mechanism in ("CRAM-MD5", "DIGEST-MD5"):
            response = exchange.send(challenge)
        else:
            response = first
        asked = True
        talk.send(base64.b64encode(response) + b"\r\n")
