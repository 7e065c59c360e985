"""The configuration of the private Dovecot, in the two languages of 2.3 and 2.4.

Rule of this file: text from values; both functions say the same to their Dovecot, in the same order.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from portico.demo.ports import LOOPBACK, MailPorts


@dataclass(slots=True, frozen=True)
class Plan:
    """What the Dovecot is to be."""

    directory: Path
    ports: MailPorts
    certificate: Path
    key: Path
    mail_user: str
    mail_uid: int
    mail_gid: int
    private_user: tuple[str, str] | None
    """User and group that run everything, where Dovecot is not started by root; else None."""
    mechanisms: str = "plain login"
    sessions_per_process: int = 1
    compress: bool = False
    """Whether 2.3 offers COMPRESS=DEFLATE; 2.4 always does."""
    more: str = ""
    """Further text, in the language of the version."""

    @property
    def run(self) -> Path:
        return self.directory / "run"

    @property
    def log(self) -> Path:
        return self.directory / "dovecot.log"


def passwd_file(users: Mapping[str, str]) -> str:
    """A passwd-file; the passwords are for a private server that lives in a temporary directory."""
    return "".join(f"{user}:{{PLAIN}}{password}\n" for user, password in users.items())


def global_acl(owner: str, masters: list[str]) -> str:
    """The owner of the public folders may do all there; a master user may do all everywhere."""
    lines = [f"Public user={owner} lrwstipekxa", f"Public/* user={owner} lrwstipekxa"]
    return "".join(f"{line}\n" for line in lines + [f"* user={master} lrwstipekxa" for master in masters])


def for_2_3(plan: Plan) -> str:
    """dovecot.conf for 2.3."""
    return f"""
{_common(plan)}
protocols = imap pop3
disable_plaintext_auth = no
auth_mechanisms = {plan.mechanisms}
auth_master_user_separator = *
ssl = yes
ssl_cert = <{plan.certificate}
ssl_key = <{plan.key}

passdb {{
  driver = passwd-file
  args = {plan.directory}/masters
  master = yes
  result_success = continue
}}
passdb {{
  driver = passwd-file
  args = {plan.directory}/users
}}
userdb {{
  driver = static
  args = uid={plan.mail_uid} gid={plan.mail_gid} home={plan.directory}/mail/%u
}}

mail_location = maildir:~/Maildir
mailbox_list_index = yes
mail_attribute_dict = file:%h/attributes
mail_plugins = acl quota notify
protocol imap {{
  mail_plugins = $mail_plugins imap_acl imap_quota{" imap_zlib" if plan.compress else ""}
  imap_metadata = yes
}}
plugin {{
  acl = vfile:{plan.directory}/acl
  acl_anyone = allow
  quota = count:User quota
  quota_rule = *:storage=1G
  quota_vsizes = yes
}}
namespace inbox {{
  inbox = yes
  separator = /
  {_special_use("mailbox")}
}}
namespace public {{
  type = public
  separator = /
  prefix = Public/
  location = maildir:{plan.directory}/public:INDEXPVT=~/public
  subscriptions = no
  list = yes
}}
{_services(plan, "service_count = 0")}
{plan.more}
"""


def for_2_4(plan: Plan, version: str) -> str:
    """dovecot.conf for 2.4; `version` is what the settings are written for, as "2.4.1"."""
    return f"""
dovecot_config_version = {version}
dovecot_storage_version = {version}
{_common(plan)}
protocols {{
  imap = yes
  pop3 = yes
}}
auth_allow_cleartext = yes
auth_mechanisms = {plan.mechanisms}
auth_master_user_separator = *
ssl = yes
ssl_server_cert_file = {plan.certificate}
ssl_server_key_file = {plan.key}

passdb masters {{
  driver = passwd-file
  passwd_file_path = {plan.directory}/masters
  master = yes
  result_success = continue
}}
passdb users {{
  driver = passwd-file
  passwd_file_path = {plan.directory}/users
}}
userdb static {{
  fields {{
    uid = {plan.mail_uid}
    gid = {plan.mail_gid}
    home = {plan.directory}/mail/%{{user}}
  }}
}}

mail_driver = maildir
mail_path = ~/Maildir
mailbox_list_index = yes
mail_attribute {{
  dict file {{
    path = %{{home}}/attributes
  }}
}}
mail_plugins {{
  acl = yes
  quota = yes
  notify = yes
}}
protocol imap {{
  mail_plugins {{
    imap_acl = yes
    imap_quota = yes
  }}
  imap_metadata = yes
}}
acl_driver = vfile
acl_global_path = {plan.directory}/acl
imap_acl_allow_anyone = yes
quota_storage_size = 1G
quota "User quota" {{
  driver = count
}}
namespace inbox {{
  inbox = yes
  separator = /
  {_special_use("mailbox")}
}}
namespace public {{
  type = public
  separator = /
  prefix = Public/
  mail_path = {plan.directory}/public
  mail_index_private_path = ~/public
  subscriptions = no
  list = yes
}}
{_services(plan, "restart_request_count = unlimited")}
{plan.more}
"""


def _common(plan: Plan) -> str:
    private = ""
    if plan.private_user:
        user, group = plan.private_user
        private = f"default_internal_user = {user}\ndefault_login_user = {user}\ndefault_internal_group = {group}\n"
    return f"""base_dir = {plan.run}
state_dir = {plan.directory}/state
instance_name = {plan.directory.name}
log_path = {plan.log}
listen = {LOOPBACK}
login_trusted_networks = 127.0.0.0/8
{private}first_valid_uid = 1
mail_max_userip_connections = 100000
mail_fsync = never
shutdown_clients = yes
"""


def _special_use(word: str) -> str:
    uses = {"Drafts": "Drafts", "Sent": "Sent", "Trash": "Trash", "Junk": "Junk", "Archive": "Archive"}
    return "\n  ".join(f"{word} {name} {{\n    special_use = \\{use}\n    auto = subscribe\n  }}" for name, use in uses.items())


def _services(plan: Plan, count: str) -> str:
    """Listeners; login processes that serve many (the default starts one for each connection).

    `count` is the setting, in the words of the version, that lets a process go on after its first client.
    """
    # Without root nobody can call chroot(2).
    chroot = "chroot =" if plan.private_user else ""
    many = f"client_limit = {plan.sessions_per_process}\n  process_limit = 400\n  {count}"
    sessions = many if plan.sessions_per_process > 1 else ""
    # Everybody comes from the loopback address: one wrong password would slow them all down.
    no_penalty = "unix_listener anvil-auth-penalty {\n    mode = 0\n  }"
    text = f"default_client_limit = 5000\nservice anvil {{\n  {chroot}\n  {no_penalty}\n}}\n"
    for protocol in ("imap", "pop3"):
        text += f"""service {protocol}-login {{
  {chroot}
  {count}
  process_min_avail = 1
  inet_listener {protocol} {{
    port = {getattr(plan.ports, protocol)}
  }}
  inet_listener {protocol}s {{
    port = {getattr(plan.ports, protocol + "s")}
    ssl = yes
  }}
}}
service {protocol} {{
  {sessions}
}}
"""
    return text
