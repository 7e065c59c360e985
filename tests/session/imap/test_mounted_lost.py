"""Stores of a tree that fail, that are not there for a client, or that nobody needs any more."""

from __future__ import annotations

from portico.session.close import Reason
from portico.session.events import MAIN, BytesReceived, Closed, ServerConnected
from portico.session.mounts.mount import Mount

from tests.session.imap.tree import begun, selected


def test_losing_the_selected_store_ends_in_bye() -> None:
    tree = selected("store")
    tree.close(1)
    assert tree.to_client == b"* BYE [UNAVAILABLE] The server of the selected folder closed the connection.\r\n"
    assert tree.closed is not None and tree.closed.reason is Reason.SERVER_CLOSED


def test_losing_another_store_is_told_to_nobody_and_it_is_opened_again() -> None:
    tree = selected()
    tree.close(1)
    assert tree.said == [] and tree.closed is None
    tree.play("C: a NOOP\nto 0: a NOOP\n0: a OK\nto C: a OK")
    tree.late(1)
    tree.play('C: b STATUS "Public Folders/x" (MESSAGES)\nto 1: portico-m4 LIST "" ""')


def test_a_store_that_dies_over_a_command_answers_no_and_the_personal_mail_goes_on() -> None:
    tree = selected()
    tree.play('C: b STATUS "Public Folders/x" (MESSAGES)\nto 1: b STATUS "x" (MESSAGES)')
    tree.close(1)
    assert tree.to_client == b"b NO [UNAVAILABLE] The server of 'Public Folders' cannot be reached.\r\n"
    tree.play("C: c NOOP\nto 0: c NOOP")


def test_a_store_that_says_nothing_is_given_up_after_a_time() -> None:
    tree = selected()
    tree.play('C: b STATUS "Public Folders/x" (MESSAGES)\nto 1: b STATUS "x" (MESSAGES)')
    assert tree.phases[1] == "store"
    tree.late(1)
    assert tree.said == [("1", b"<disconnect>\r\n"), ("C", b"b NO [UNAVAILABLE] The server of 'Public Folders' cannot be reached.\r\n")]


def test_a_store_that_nobody_needs_is_left() -> None:
    tree = selected()
    assert tree.phases[1] == "store_idle"
    tree.late(1)
    assert tree.said == [("1", b"portico-m LOGOUT\r\n<disconnect>\r\n")]
    tree.play('C: b STATUS "Public Folders/x" (MESSAGES)\nto 1: portico-m4 LIST "" ""')


def test_the_goodbye_of_a_store_is_not_the_client_s() -> None:
    tree = selected()
    tree.play("1: * BYE bored")
    tree.close(1)
    assert tree.said == [] and tree.closed is None


def test_nothing_of_a_password_is_in_what_is_remembered_of_a_refusal() -> None:
    tree = begun(answers=False)
    tree.play('C: a STATUS "Public Folders/x" (MESSAGES)\nto 1: <connect>')
    tree.event(ServerConnected(1))
    tree.event(BytesReceived(1, b"* OK [CAPABILITY IMAP4rev1 AUTH=PLAIN SASL-IR] here\r\n"))
    tag = tree.said[-1][1].split()[-4]
    tree.event(BytesReceived(1, tag + b" NO alice with hunter2 is nobody\r\n"))
    assert "hunter2" not in str(tree.log)
    assert tree.events("mount.failed")[0]["reason"] == "refused_by_server"


def test_a_logout_is_said_to_all() -> None:
    tree = selected()
    tree.play(
        """
        C: z LOGOUT
        to 1: portico-m LOGOUT
        to 1: <disconnect>
        to 0: z LOGOUT
        0: * BYE bye
        to C: * BYE bye
        0: z OK done
        to C: z OK done
        """
    )
    tree.event(Closed(MAIN))
    assert tree.closed is not None and tree.closed.reason is Reason.LOGOUT


def test_losing_the_selected_store_while_a_command_waits_for_another_ends_in_bye_too() -> None:
    tree = selected("store")
    tree.play("C: a CHECK\nto 1: a CHECK\nC: b STATUS INBOX (MESSAGES)")
    tree.close(1)
    assert tree.to_client == b"* BYE [UNAVAILABLE] The server of the selected folder closed the connection.\r\n"
    assert tree.closed is not None and tree.closed.reason is Reason.SERVER_CLOSED


def test_a_mail_program_that_says_who_it_is_after_its_login_may_be_left_out() -> None:
    mount = Mount("Public Folders", "public", serves=lambda session: session.client_id.get("name") != "imapsync")
    tree = begun(mount, learned=False)
    tree.play(
        """
        C: i ID ("name" "imapsync")
        to 0: i ID ("name" "imapsync")
        0: i OK done
        to C: i OK done
        C: l LIST "" "*"
        to 0: portico-m1 LIST "" ""
        0: portico-m1 OK done
        to 0: portico-m2 LIST "" "*"
        0: * LIST () "/" "Public Folders"
        to C: * LIST () "/" "Public Folders"
        0: portico-m2 OK done
        to C: l OK done
        """
    )


def test_whom_the_store_does_not_take_has_his_own_folders_and_no_others() -> None:
    tree = begun(answers=False)
    tree.play('C: a LIST "" "*"\nto 0: portico-m3 LIST "" "*"\n0: portico-m3 OK all\nto 1: <connect>')
    tree.event(ServerConnected(1))
    tree.event(BytesReceived(1, b"* OK [CAPABILITY IMAP4rev1 AUTH=PLAIN SASL-IR] here\r\n"))
    tag = tree.said[-1][1].split()[-4]
    tree.said = []
    tree.event(BytesReceived(1, tag + b" NO [AUTHENTICATIONFAILED] who is that\r\n"))
    assert tree.to_client == b"a OK all\r\n"
    tree.play("C: b SELECT \"Public Folders/Team\"\nto C: b NO [UNAVAILABLE] The server of 'Public Folders' cannot be reached.")


def test_a_mount_whose_plugin_fails_is_not_there() -> None:
    mount = Mount("Public Folders", "public", serves=lambda session: 1 // 0)
    tree = begun(mount)
    assert tree.events("plugin.failed")[0]["hook"] == "mount serves"
    tree.play('C: s SELECT "Public Folders/x"\nto 0: s SELECT "Public Folders/x"')
