"""``portico certs``.

Rule of this file: options in, `tls.issue` and `tls.inspect` asked, words out.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from portico.cli.exits import Exit
from portico.cli.output import complain, say
from portico.cli.where import settings_file
from portico.errors import PorticoError

if TYPE_CHECKING:
    from portico.tls.inspect import Shown, Starttls
    from portico.tls.issue import KeyType

Found = tuple[str, "Shown | str", list[str]]
"""Where, the certificate or why there is none, and what clients will stumble over."""


@click.group()
def certs() -> None:
    """Make and show certificates."""


@certs.command()
@click.argument("directory", type=click.Path(path_type=Path, file_okay=False))
@click.option("--name", "names", multiple=True, metavar="NAME", help="Host name or IP address of the server; several times for several.")
@click.option("--client", "clients", multiple=True, metavar="ADDRESS", help="Also a certificate by which ADDRESS signs in (EXTERNAL).")
@click.option("--days", type=int, default=365, show_default=True, help="How long the certificates are good; at most 398.")
@click.option("--key", "key_type", type=click.Choice(["ecdsa", "rsa"]), default="ecdsa", show_default=True, help="Kind of the keys.")
@click.option("--rsa", "beside", is_flag=True, help="Beside the server's ECDSA certificate one with an RSA key, for old clients.")
@click.option("--ca", "authority_only", is_flag=True, help="The authority alone, no certificate of a server.")
@click.option("--force", is_flag=True, help="Replace certificates that are there. The authority always stays.")
def new(
    directory: Path,
    names: tuple[str, ...],
    clients: tuple[str, ...],
    days: int,
    key_type: KeyType,
    beside: bool,
    authority_only: bool,
    force: bool,
) -> None:
    """Make an authority and certificates in DIRECTORY.

    Writes ca.pem (to be trusted by the clients), ca.key, server.pem and server.key, and ADDRESS.pem and ADDRESS.key for each
    client. An authority that is there already is used again. Without --name, --client and --ca the server is localhost.

    For development and small places: a public server should have its certificate from a public authority.
    """
    from portico.tls.issue import issue_into

    if authority_only and (names or beside):
        raise click.UsageError("--ca makes no certificate of a server: leave out --name and --rsa, or --ca")
    if not names and not clients and not authority_only:
        names = ("localhost", "127.0.0.1", "::1")
    issued = issue_into(directory, names, clients, days=days, key_type=key_type, force=force, beside=beside)
    say(f"{issued.authority}: {'a new authority' if issued.new_authority else 'the authority that was there'}; let clients trust it")
    if issued.certificate is not None and issued.key is not None:
        say(f"{issued.certificate}, {issued.key}: for {', '.join(names)}; in a listener's settings:")
        say(f"    certificate = {json.dumps(str(issued.certificate.absolute()))}\n    key = {json.dumps(str(issued.key.absolute()))}")
    for certificate, key in issued.beside:
        say(f"{certificate}, {key}: the same with an RSA key; beside the first:")
        pair = f"certificate = {json.dumps(str(certificate.absolute()))}, key = {json.dumps(str(key.absolute()))}"
        say(f"    certificates = [{{{pair}}}]")
    for certificate, key in issued.clients:
        say(f"{certificate}, {key}: for the client")


@certs.command()
@click.argument("directory", type=click.Path(path_type=Path, file_okay=False, exists=True))
@click.option(
    "--certificate",
    "files",
    multiple=True,
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="What is revoked; several times.",
)
@click.option("--days", type=int, default=30, show_default=True, help="How long the list is good.")
def revoke(directory: Path, files: tuple[Path, ...], days: int) -> None:
    """Take back certificates that the authority in DIRECTORY has issued.

    Writes crl.pem: what was revoked before, and each --certificate. Without any the list is made anew for another --days: a listener with
    client_crl_file lets nobody in who shows a certificate when its list is too old.
    """
    from portico.tls.issue import revoke_in

    path, count = revoke_in(directory, files, days=days)
    say(f"{path}: {count} revoked, good for {days} days; in a listener's settings:")
    say(f"    client_crl_file = {json.dumps(str(path.absolute()))}")


@certs.command()
@click.argument("target", required=False)
@click.option(
    "--warn", "warn_days", type=click.IntRange(0), default=14, show_default=True, metavar="DAYS", help="Exit code 5 if less is left."
)
@click.option(
    "--starttls", type=click.Choice(["no", "imap", "pop3"]), help="How a server begins.  [default: imap for port 143, pop3 for 110]"
)
@click.option("--name", metavar="NAME", help="The name that a server is asked for.  [default: the host]")
@click.option("--ca-file", type=click.Path(), metavar="FILE", help="The authorities to trust.  [default: the system's]")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_context
def show(
    ctx: click.Context, target: str | None, warn_days: int, starttls: Starttls | None, name: str | None, ca_file: str | None, as_json: bool
) -> None:
    """Show certificates: of a PEM file, of a server (HOST:PORT), or all that a settings file (*.toml) names.

    Without TARGET: the settings file in the usual place. What clients will stumble over (a chain that is not whole, another name) is said
    on standard error. Exit code 5 if a certificate has expired or is about to.
    """
    from portico.tls.inspect import Shown

    found = list(_find(target, starttls, name, ca_file))
    good = [(where, what) for where, what, _ in found if isinstance(what, Shown)]
    if as_json:
        shown = [{**_as_json(where, what), "problems": problems} for where, what, problems in found if isinstance(what, Shown)]
        click.echo(json.dumps(shown, indent=2))
    else:
        click.echo("\n\n".join(_as_text(where, what) for where, what in good))
    bad = [what for _, what, _ in found if isinstance(what, str)]
    for why in bad:
        complain(f"portico: {why}")
    for where, _, problems in found:
        for problem in problems:
            complain(f"{where}: {problem}")
    ending = False
    for where, what in good:
        left = what.days_left()
        if left < warn_days or left < 0:
            ending = True
            complain(f"{where}: " + (f"expired on {what.not_after:%Y-%m-%d}" if left < 0 else f"expires in {left} days"))
    ctx.exit(Exit.FAILED if bad else Exit.CERTIFICATE if ending else Exit.OK)


def _find(target: str | None, starttls: Starttls | None, name: str | None, ca_file: str | None) -> Iterator[Found]:
    from portico.config.address import parse_address
    from portico.tls.inspect import certificate_of, describe, doubts_about

    if target is None or target.endswith(".toml"):
        yield from _of_settings(settings_file(Path(target) if target else None), ca_file)
        return
    if Path(target).exists() or not re.search(r":\d+$", target):
        yield from _of_file(target, Path(target), ca_file)
        return
    try:
        address = parse_address(target)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="TARGET") from None
    begin: Starttls = starttls or ("imap" if address.port == 143 else "pop3" if address.port == 110 else "no")
    certificate = certificate_of(address.host, address.port, starttls=begin, name=name)
    doubts = doubts_about(address.host, address.port, starttls=begin, name=name, ca_file=ca_file)
    yield str(address), describe(certificate), [f"a client would not believe it: {doubts}"] if doubts else []


def _of_file(where: str, file: Path, ca_file: str | None) -> Iterator[Found]:
    from portico.tls.chain import chain_problems
    from portico.tls.inspect import certificates_in, describe

    try:
        certificates = certificates_in(file)
        authorities = certificates_in(Path(ca_file)) if ca_file is not None else None
    except PorticoError as error:
        yield where, str(error), []
        return
    for number, certificate in enumerate(certificates, 1):
        at = f"{where} ({number} of {len(certificates)})" if len(certificates) > 1 else where
        yield at, describe(certificate), chain_problems(certificates, authorities) if number == 1 else []


def _of_settings(file: Path, ca_file: str | None) -> Iterator[Found]:
    """Every certificate file that the settings name, each once."""
    from portico.config.load import load

    settings = load(file)
    files: dict[str, list[str]] = {}
    for name, listener in settings.listeners.items():
        for key, value in (
            ("certificate", listener.certificate),
            *((f"certificates[{number}]", each.certificate) for number, each in enumerate(listener.certificates)),
            ("client_ca_file", listener.client_ca_file),
        ):
            if value is not None:
                files.setdefault(value, []).append(f"listeners.{name}.{key}")
    for name, server in settings.servers.items():
        for key, value in (("certificate", server.certificate), ("ca_file", server.ca_file)):
            if value is not None:
                files.setdefault(value, []).append(f"servers.{name}.{key}")
    others = {f"auth_http.{name}.ca_file": service.ca_file for name, service in settings.auth_http.items()}
    for key, value in {**others, "shared.ca_file": settings.shared.ca_file}.items():
        if value is not None:
            files.setdefault(value, []).append(key)
    for path, keys in files.items():
        for where, what, problems in _of_file(path, Path(path), ca_file):
            yield f"{where} [{', '.join(keys)}]", what, problems


def _as_text(where: str, shown: Shown) -> str:
    left = shown.days_left()
    rows = {
        "subject": shown.subject or "(empty)",
        "names": ", ".join(shown.names) or "(none)",
        "issuer": "itself" if shown.self_signed else shown.issuer,
        "valid": f"{shown.not_before:%Y-%m-%d %H:%M} to {shown.not_after:%Y-%m-%d %H:%M} UTC, {left} days left",
        "key": shown.key_type + (", an authority" if shown.authority else ""),
        "fingerprint": shown.fingerprint,
    }
    return "\n".join([where, *(f"  {name:<12} {text}" for name, text in rows.items())])


def _as_json(where: str, shown: Shown) -> dict[str, object]:
    return {
        "where": where,
        "subject": shown.subject,
        "names": list(shown.names),
        "issuer": shown.issuer,
        "not_before": shown.not_before.isoformat(),
        "not_after": shown.not_after.isoformat(),
        "days_left": shown.days_left(),
        "fingerprint": shown.fingerprint,
        "key": shown.key_type,
        "authority": shown.authority,
    }
