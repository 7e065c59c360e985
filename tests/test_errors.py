"""A secret prints as `<secret>`, and is taken out of what others say of it."""

from __future__ import annotations

import copy
import pickle
from base64 import b64encode

import pytest
from portico.errors import Secret


@pytest.mark.parametrize("password", ["x9", "00000", "hunter2", "pässwörd", "longer than a line of base64 " * 4])
def test_a_secret_is_blotted_out_of_what_a_server_repeats(password: str) -> None:
    secret = Secret(password)
    plain = b64encode(f"\0alice\0{password}".encode()).decode()
    alone = b64encode(password.encode()).decode()
    for said in (password, f"Wrong password ({password}) for alice", plain, f"You said: {plain}.", alone, f"<{alone}>"):
        blotted = secret.blot(said)
        assert "<secret>" in blotted
        assert password not in blotted and alone not in blotted and plain not in blotted
    assert secret.blot("Authentication failed for alice.") == "Authentication failed for alice."


def test_a_secret_shows_itself_nowhere() -> None:
    secret = Secret("hunter2")
    for shown in (repr(secret), str(secret), f"{secret}", f"{secret!r}", "%s" % secret, repr([secret]), f"{secret:>20}"):  # noqa: UP031
        assert "hunter2" not in shown and "secret" in shown
    for escape in (lambda: pickle.dumps(secret), lambda: copy.copy(secret), lambda: hash(secret)):
        with pytest.raises(TypeError):
            escape()
    assert secret == Secret(b"hunter2") and secret != Secret("hunter3") and secret.reveal() == b"hunter2"


def test_what_is_put_in_place_of_a_secret_is_not_taken_for_it() -> None:
    assert Secret("secret").blot("your secret") == "your <secret>"
