"""The door for authors: all that a plugin needs, and the only room it imports from.

Rule of this file: names from deeper rooms, offered under one roof; they stay what they are (docs/how-to/write-a-plugin.md).
"""

from portico.config.units import Duration, SecretText, Size
from portico.errors import Secret
from portico.plugin.commands import ConsoleCommand
from portico.plugin.hooks import ProxyInfo, Summary, hookimpl
from portico.plugin.options import Option
from portico.session.annotations.annotator import Annotator
from portico.session.annotations.outline import Insertion, Outline
from portico.session.annotations.transform import Transformer
from portico.session.context import LoginAttempt, Peer, RouteChoice, TlsInfo
from portico.session.context import SessionView as Session
from portico.session.interests import Answer, Change, Command, Drop, FetchItem, Interests, Refuse, Response
from portico.session.mounts.mount import Mount
from portico.session.sizes.sizer import Sizer, Sketch
from portico.wire.bodystructure import Part

__all__ = [
    "Annotator",
    "Answer",
    "Change",
    "Command",
    "ConsoleCommand",
    "Drop",
    "Duration",
    "FetchItem",
    "Insertion",
    "Interests",
    "LoginAttempt",
    "Mount",
    "Option",
    "Outline",
    "Part",
    "Peer",
    "ProxyInfo",
    "Refuse",
    "Response",
    "RouteChoice",
    "Secret",
    "SecretText",
    "Session",
    "Size",
    "Sizer",
    "Sketch",
    "Summary",
    "TlsInfo",
    "Transformer",
    "hookimpl",
]
