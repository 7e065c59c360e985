"""The proxies that are compared, each with its exact configuration.

Rule of this file: a peer is a function from a Place to the command line that runs it in the foreground. All listen with
implicit TLS 1.3 on loopback, go to the backend in clear, and write no log line per session.
"""

from __future__ import annotations

import importlib.util
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from mailbench import dovecot
from mailbench.certificate import Certificate

WORKERS = 2
"""Of each proxy that has some."""
_LINKS = '[plugins.meeting_links]\nwebmail = "nextcloud"\nhost = "webmail.example.org"\n'


@dataclass(slots=True, frozen=True)
class Backend:
    imap: int
    pop3: int
    watched_imap: int = 0
    """As `imap`, announcing an extension that a proxy must not let through; 0: the backend has no such port."""


@dataclass(slots=True, frozen=True)
class Place:
    """Where a peer lives: a directory of its own and its ports on 127.0.0.1."""

    directory: Path
    imaps: int
    pop3s: int
    extra: int
    """For what only this peer needs: nginx's authentication server."""
    backend: Backend
    certificate: Certificate

    def write(self, name: str, text: str) -> str:
        """A file in the directory; its path."""
        path = self.directory / name
        path.write_text(text, encoding="utf-8")
        return str(path)


def nginx(place: Place) -> list[str]:
    return _nginx(place, "")


def nginx_64k(place: Place) -> list[str]:
    return _nginx(place, "proxy_buffer 64k;")


def _nginx(place: Place, buffers: str) -> list[str]:
    home, backend = place.directory, place.backend
    configured = subprocess.run(["nginx", "-V"], capture_output=True, text=True, check=True).stderr.split()
    modules = next(word.split("=", 1)[1] for word in configured if word.startswith("--modules-path="))
    temporary = "".join(f"    {name}_temp_path {home}/{name};\n" for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
    text = f"""
load_module {modules}/ngx_mail_module.so;
daemon off;
worker_processes {WORKERS};
worker_rlimit_nofile 20000;
pid {home}/pid;
error_log {home}/error.log error;
events {{ worker_connections 20000; }}
http {{
    access_log off;
{temporary}    map $http_auth_protocol $port {{ imap {backend.imap}; pop3 {backend.pop3}; }}
    server {{
        listen 127.0.0.1:{place.extra};
        location /auth {{
            add_header Auth-Status OK;
            add_header Auth-Server 127.0.0.1;
            add_header Auth-Port $port;
            return 200;
        }}
    }}
}}
mail {{
    server_name localhost;
    auth_http 127.0.0.1:{place.extra}/auth;
    ssl_certificate {place.certificate.certificate};
    ssl_certificate_key {place.certificate.key};
    ssl_protocols TLSv1.3;
    ssl_session_cache shared:mail:20m;
    timeout 1h;
    {buffers}
    imap_capabilities IMAP4rev1 SASL-IR LITERAL+ ID IDLE;
    server {{ listen 127.0.0.1:{place.imaps} ssl backlog=4096; protocol imap; }}
    server {{ listen 127.0.0.1:{place.pop3s} ssl backlog=4096; protocol pop3; }}
}}
"""
    return ["nginx", "-e", f"{home}/error.log", "-c", place.write("nginx.conf", text)]


def haproxy(place: Place) -> list[str]:
    """Knows no mail protocol: a lower bound for what a relay in C costs."""
    text = f"""
global
    nbthread {WORKERS}
    maxconn 9900
    ssl-default-bind-options ssl-min-ver TLSv1.3
defaults
    mode tcp
    timeout connect 5s
    timeout client 1h
    timeout server 1h
listen imap
    bind 127.0.0.1:{place.imaps} ssl crt {place.certificate.both}
    server b 127.0.0.1:{place.backend.imap}
listen pop3
    bind 127.0.0.1:{place.pop3s} ssl crt {place.certificate.both}
    server b 127.0.0.1:{place.backend.pop3}
"""
    return ["haproxy", "-db", "-q", "-f", place.write("haproxy.cfg", text)]


def dovecot_proxy(place: Place) -> list[str]:
    text = dovecot.proxy_configuration(
        place.directory, place.certificate, (place.imaps, place.pop3s), (place.backend.imap, place.backend.pop3)
    )
    return ["dovecot", "-F", "-c", place.write("dovecot.conf", text)]


def portico(place: Place) -> list[str]:
    return _portico(place, place.backend.imap)


def portico_watched(place: Place) -> list[str]:
    """Portico where it has to look: the server announces an extension that is withheld, so no session is a tunnel."""
    return _portico(place, place.backend.watched_imap or place.backend.imap)


def portico_links(place: Place) -> list[str]:
    """Portico with meeting links on: every IMAP and POP3 session is watched, and new mail is looked at."""
    return _portico(place, place.backend.imap, _LINKS)


def portico_links_all(place: Place) -> list[str]:
    """The same, and no message is too old to be looked at."""
    return _portico(place, place.backend.imap, f"{_LINKS}\n[annotations]\nnewest = 1000000\n")


def portico_plugins(place: Place) -> list[str]:
    """Portico with the three built-in plugins on, for a user who has public folders: the store is another account at the same backend."""
    folders = f'[servers.store]\nimap = "127.0.0.1:{place.backend.imap}"\n'
    listener = '[listeners.imaps.plugins.size_estimates]\n[listeners.imaps.plugins.public_folders]\nstore = "store"\n'
    return _portico(place, place.backend.imap, _LINKS + folders + listener)


def _pure(peer: Callable[[Place], list[str]]) -> Callable[[Place], list[str]]:
    """The same, where its modules are compiled: from their source, as it runs where nothing was compiled."""
    return lambda place: ["env", "PORTICO_PURE=1", *peer(place)]


def is_compiled() -> bool:
    """Whether the Portico that is installed has compiled modules."""
    found = importlib.util.find_spec("portico")
    places = found.submodule_search_locations if found is not None else None
    return any(True for place in places or () for _ in Path(place).rglob("*.so"))


def _portico(place: Place, imap: int, more: str = "") -> list[str]:
    # JSON's strings are TOML's.
    certificate, key = json.dumps(str(place.certificate.certificate)), json.dumps(str(place.certificate.key))
    text = f"""
[servers.backend]
imap = "127.0.0.1:{imap}"
pop3 = "127.0.0.1:{place.backend.pop3}"

[listeners.imaps]
protocol = "imap"
addresses = ["127.0.0.1:{place.imaps}"]
minimum_tls = "1.3"
certificate = {certificate}
key = {key}
server = "backend"

[listeners.pop3s]
protocol = "pop3"
addresses = ["127.0.0.1:{place.pop3s}"]
minimum_tls = "1.3"
certificate = {certificate}
key = {key}
server = "backend"

[workers]
count = {WORKERS}

[limits]
sessions = 20000
sessions_per_user = 20000
sessions_per_address = 20000

[log]
level = "warning"

{more}"""
    return [sys.executable, "-m", "portico", "run", "-c", place.write("portico.toml", text)]


PEERS: dict[str, Callable[[Place], list[str]]] = {
    "nginx": nginx,
    "nginx-64k": nginx_64k,
    "haproxy": haproxy,
    "dovecot": dovecot_proxy,
    "portico": portico,
    "portico-plugins": portico_plugins,
    "portico-pure": _pure(portico),
    "portico-plugins-pure": _pure(portico_plugins),
    "portico-watched": portico_watched,
    "portico-links": portico_links,
    "portico-links-all": portico_links_all,
}
LINKS_PEERS = ("portico", "portico-links", "portico-links-all")
_NEEDS = {
    "nginx": ("nginx", "nginx libnginx-mod-mail"),
    "nginx-64k": ("nginx", "nginx libnginx-mod-mail"),
    "haproxy": ("haproxy", "haproxy"),
    "dovecot": ("dovecot", "dovecot-core dovecot-imapd dovecot-pop3d"),
}


def missing(name: str) -> str:
    """The Debian packages that a peer needs and this machine lacks; empty: none."""
    program, packages = _NEEDS.get(name, ("sh", ""))
    return "" if shutil.which(program) is not None else packages
