"""What the author of a plugin needs in tests, with pytest or without.

    from portico.testing import Correspondence, check_plugin

    def test_it_keeps_what_every_plugin_must_keep():
        check_plugin(MyPlugin, {"text": "No."})

    def test_a_folder_cannot_be_deleted():
        with Correspondence(MyPlugin, {"text": "No."}) as session:
            session.sign_in("alice")
            session.play('''
            C: a1 DELETE Archive
            to C: a1 NO [NOPERM] No.

            C: a2 NOOP
            S: a2 OK done
            ''')

- `check_plugin`: one call that holds a plugin to what Portico promises of every plugin.
- `annotated`, `transformed`: a message as a client gets it, for plugins that annotate or transform.
- `Correspondence`: a session with a plugin, played as an exchange of letters, without sockets; playbooks are explained in
  `portico.testing.playbook`.
- `ScriptedServer`: a mail server on the loopback address that plays a playbook; ``python -m portico.testing`` runs one that
  says yes to everything, for trying a plugin by hand.
- `running_proxy`: a whole proxy with a plugin in front of such a server; `Dialogue`: a client for it that keeps every octet.

Rule of this file: the names that are promised. The rest of this package may change.
"""

from portico.testing.client import Dialogue, eventually
from portico.testing.conformance import annotated, check_plugin, transformed
from portico.testing.correspondence import Correspondence
from portico.testing.playbook import PlaybookFailed
from portico.testing.proxy import RunningProxy, running_proxy
from portico.testing.server import Connection, Ended, ScriptedServer

__all__ = [
    "Connection",
    "Correspondence",
    "Dialogue",
    "Ended",
    "PlaybookFailed",
    "RunningProxy",
    "ScriptedServer",
    "annotated",
    "check_plugin",
    "eventually",
    "running_proxy",
    "transformed",
]
