"""Whose a name is, and what it is called at the store."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from portico.session.mounts.mount import Mount
from portico.session.mounts.tree import Place


def test_a_whole_account_under_a_prefix() -> None:
    place = Place(Mount("Public Folders", "store"))
    assert place.owns(b"Public Folders") and place.owns(b"Public Folders/Team") and not place.owns(b"Public Folders2")
    assert place.to_store(b"Public Folders/Team/x") == b"Team/x"
    assert place.from_store(b"Team/x") == b"Public Folders/Team/x"
    assert place.from_store(b"INBOX") is None
    assert Place(Mount("P", "store", inbox=True)).from_store(b"INBOX") == b"P/INBOX"


def test_a_part_of_an_account_with_another_separator_and_its_own_name() -> None:
    place = Place(Mount("Shared/Öffentlich", "store", root="#news/all"), b"/", b".")
    assert place.prefix == b"Shared/&ANY-ffentlich"
    assert place.ancestors == [b"Shared"]
    assert place.root == b"#news.all."
    assert place.to_store(b"Shared/&ANY-ffentlich/comp/mail") == b"#news.all.comp.mail"
    assert place.from_store(b"#news.all.comp.mail") == b"Shared/&ANY-ffentlich/comp/mail"
    assert place.from_store(b"#news.all") == b"Shared/&ANY-ffentlich"
    assert place.from_store(b"INBOX") is None
    assert place.text(b"Shared/&ANY-ffentlich/a/&ANY-") == "a/Ö"
    assert Place(Mount("Öffentlich", "store"), utf8=True).prefix == "Öffentlich".encode()


def test_an_octet_that_parts_levels_on_one_side_only_is_written_by_its_code() -> None:
    place = Place(Mount("P", "store"), b"/", b".")
    assert place.from_store(b"a/b.c") == b"P/a=2Fb/c"
    assert place.to_store(b"P/a=2Fb/c") == b"a/b.c"
    assert place.from_store(b"a=2Fb") == b"P/a=3D2Fb"


@given(st.text("ab./=2F3D", min_size=1, max_size=12).map(str.encode).filter(lambda name: not name.startswith((b".", b"/"))))
def test_there_and_back_a_name_is_the_same(name: bytes) -> None:
    place = Place(Mount("P", "store"), b"/", b".")
    shown = place.from_store(name)
    assert shown is not None
    assert place.owns(shown)
    assert place.to_store(shown) == name


_NAMES = st.text("abINBOX./=&-\\2F\u00f6\n", min_size=1, max_size=12)


@given(_NAMES, st.sampled_from([b"/", b"."]), st.sampled_from(["", "Root"]), st.booleans())
def test_a_name_that_is_taken_is_the_only_one_of_its_mailbox(name: str, separator: bytes, root: str, rights: bool) -> None:
    place = Place(Mount("P", "store", root=root, rights=(lambda name: "lr") if rights else None), b"/", separator)
    known = place.known(b"P/" + name.encode())
    if known is not None:
        assert place.from_store(place.to_store(known)) == known == place.known(known)
        assert place.to_store(known).startswith(place.root)
        assert not {b"", b".", b".."} & set(place.to_store(known).split(separator))


@given(_NAMES, st.sampled_from([b"/", b"."]))
def test_what_is_listed_can_be_named(name: str, separator: bytes) -> None:
    """But for names that no server should have: levels that are empty, ``.`` or ``..``, and control characters."""
    place = Place(Mount("P", "store"), b"/", separator)
    shown = place.from_store(name.encode())
    if shown is not None and not {"", ".", ".."} & set(name.split(separator.decode())) and "\n" not in name:
        first = name.split(separator.decode())[0]
        assert first.upper() == "INBOX" or place.known(shown) == shown or not {b".", b".."}.isdisjoint(shown.split(b"/"))
