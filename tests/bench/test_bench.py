"""The benchmark reads its load generator right and takes its ratios right. No test is timed."""

from __future__ import annotations

import argparse
import os
import re
import socket
from pathlib import Path

import folders
import pytest
from mailbench import build, dovecot, machine, peers, report
from mailbench.certificate import Certificate
from mailbench.load import Sample, Target, parse
from mailbench.main import plan_of
from mailbench.measures import Measures, Row
from mailbench.plan import LINKS, MEASURES, ORDINARY, QUICK, WITH_LINKS
from mailbench.tally import Tally

PRINTED = (
    '{"started":64,"finished":64,"failed":0,"why":"","timeout":0,"wall":0.5,"cmd_wall":0.25,"cmds":7,"literal_bytes":9,'
    '"bytes_in":100,"resumed":3,"ready":0,"dones":0,"client_cpu":0.01,"p50_us":85.5,"p99_us":90.0,"mean_us":86.0,"tls":"TLSv1.3 X"}'
)


def test_what_the_load_generator_prints_is_a_sample() -> None:
    sample = parse("READY 64 0 0.1\n" + PRINTED + "\n")
    assert (sample.finished, sample.cmds, sample.p50_us, sample.tls) == (64, 7, 85.5, "TLSv1.3 X")
    assert sample.clean


def test_a_load_generator_that_says_nothing_has_failed() -> None:
    sample = parse("", "socket: Too many open files\n")
    assert not sample.clean
    assert sample.why == "socket: Too many open files"


def test_what_load_c_prints_is_what_is_read() -> None:
    source = (build.NATIVE / "load.c").read_text()
    names = set(re.findall(r'\\"(\w+)\\":', source))
    assert {"finished", "failed", "timeout", "cmds", "resumed", "client_cpu", "dones"} <= names
    assert names == set(re.findall(r'"(\w+)":', PRINTED))


def test_a_ratio_is_taken_within_a_round() -> None:
    rows = [
        Row("nginx", "login_ms", 0, 1.0), Row("portico", "login_ms", 0, 1.1),
        Row("nginx", "login_ms", 1, 2.0), Row("portico", "login_ms", 1, 2.6),
        Row("nginx", "login_ms", 2, 1.0), Row("portico", "login_ms", 2, 1.2),
    ]  # fmt: skip
    cell = report.compare(rows, "nginx")["login_ms"]["portico"]
    assert cell.value == report.Spread(1.1, 1.2, 2.6)
    assert cell.ratio is not None
    assert [round(value, 2) for value in (cell.ratio.least, cell.ratio.median, cell.ratio.greatest)] == [1.1, 1.2, 1.3]


def test_a_target_without_a_reference_has_no_ratio_and_no_verdict() -> None:
    table = report.compare([Row("portico", "fetch_s_gib", 0, 1.0)], "nginx")
    assert table["fetch_s_gib"]["portico"].ratio is None
    assert report.verdicts(table, "portico", {"fetch_s_gib": 1.0}) == []
    assert "| download by FETCH: CPU s/GiB | - | 1.00 |" in report.markdown(table, ["nginx", "portico"], "nginx")


def test_the_table_shows_median_ratio_and_spread() -> None:
    rows = [
        Row(name, "login_ms", number, value)
        for number, (a, b) in enumerate([(1.0, 1.5), (1.0, 1.3)])
        for name, value in (("nginx", a), ("portico", b))
    ]
    table = report.markdown(report.compare(rows, "nginx"), ["nginx", "portico"], "nginx")
    assert table.splitlines()[2] == "| login, full handshake: CPU ms | 1.000 | 1.400 = 1.40x (1.30-1.50) |"


def test_every_measure_has_a_title() -> None:
    source = (Path(report.__file__).parent / "measures.py").read_text()
    noted = set(re.findall(r'note\(target, "(\w+)"', source))
    noted |= {f"{prefix}_{end}" for prefix in ("login", "resumed", "pop3_login") for end in ("ms", "per_s")}
    noted |= {f"{prefix}_{end}" for prefix in ("fetch", "retr") for end in ("s_gib", "mib_s")}
    noted |= {f"{prefix}_{end}" for prefix in ("list", "mail_list") for end in ("s_gib", "mib_s")}
    noted |= {f"{what}{sessions}_per_s" for what in ("commands", "logins") for sessions in (64, 128)}
    noted |= {"mail_each_us", "pop3_mail_us", "list_first_ms", "list_again_ms"}
    noted |= {f"command_{part}_added_us" for part in ("p50", "p99")}
    assert noted == set(report.METRICS)


def options(**changed: object) -> argparse.Namespace:
    defaults = {
        "quick": True,
        "links": False,
        "growth": False,
        "measures": ",".join(MEASURES),
        "peers": "nginx",
        "rounds": None,
        "idle": None,
        "sessions": None,
    }
    return argparse.Namespace(**{**defaults, **changed})


def test_options_change_the_plan() -> None:
    plan = plan_of(options(rounds=5, idle="9000,2000", measures="login,idle"))
    assert (plan.rounds, plan.idle, plan.measures, plan.sessions) == (5, (2000, 9000), ("login", "idle"), QUICK.sessions)


def test_what_meeting_links_cost_is_a_plan_of_its_own() -> None:
    assert plan_of(options(links=True, measures=None)) == WITH_LINKS
    assert plan_of(options(links=True, measures="mail,idle", rounds=1)).measures == ("mail", "idle")
    assert set(LINKS) - set(MEASURES) == {"mail", "mail_each", "pop3_mail", "list_first", "list_again"}


def test_what_meeting_links_may_cost_is_judged_beside_portico_without_them() -> None:
    rows = [
        Row("portico", "fetch_s_gib", 0, 1.0), Row("portico-links", "fetch_s_gib", 0, 1.04),
        Row("portico", "pop3_mail_us", 0, 100.0), Row("portico-links", "pop3_mail_us", 0, 200.0),
        Row("portico", "list_again_ms", 0, 10.0), Row("portico-links", "list_again_ms", 0, 20.0),
    ]  # fmt: skip
    assert report.verdicts(report.compare(rows, "portico"), "portico-links", report.LINKS_EXPECTED) == [
        "met: download by FETCH: CPU s/GiB: 1.04x, at most 1.05x expected",
        "MISSED: ordinary mail by RETR: CPU us per message: 2.00x, at most 1.05x expected",
    ]


class Written:
    """A load that runs nothing: what it was asked for, and an answer that says all went well."""

    counts = False

    def __init__(self) -> None:
        self.asked: list[dict[str, object]] = []

    def run(self, mode: str, target: Target, **options: object) -> Sample:
        self.asked.append({"mode": mode, **options})
        wrong = options.get("pass") == "wrong"
        return Sample(finished=0 if wrong else 64, failed=2 if wrong else 0)


def test_nobody_but_the_guesser_pays_for_a_wrong_password() -> None:
    written = Written()
    assert Measures(QUICK, written).sanity(Target("portico", 1, 2, []))  # type: ignore[arg-type]
    wrong = [asked for asked in written.asked if asked.get("pass") == "wrong"]
    assert [asked["src"] for asked in wrong] == ["127.0.9.1"]
    assert all("src" not in asked for asked in written.asked if asked not in wrong)


def test_a_measure_or_peer_that_is_not_known_is_said() -> None:
    with pytest.raises(SystemExit, match=r"not known: speed, exim"):
        plan_of(options(measures="speed", peers="exim"))


def place(directory: Path) -> peers.Place:
    made = Certificate(directory / "cert.pem", directory / "key.pem", directory / "both.pem")
    for file in (made.certificate, made.key, made.both):
        file.write_text("")
    return peers.Place(directory, 2001, 2002, 2003, peers.Backend(3001, 3002, 3003), made)


@pytest.mark.parametrize(("name", "port"), [("portico", 3001), ("portico-watched", 3003), ("portico-plugins", 3001)])
def test_the_settings_written_for_portico_are_settings(tmp_path: Path, name: str, port: int) -> None:
    import tomllib

    from portico.config.settings import Limits, Listener, Server

    argv = peers.PEERS[name](place(tmp_path))
    assert argv[1:4] == ["-m", "portico", "run"]
    said = tomllib.loads((tmp_path / "portico.toml").read_text())
    assert Server.model_validate(said["servers"]["backend"]).imap
    assert said["servers"]["backend"]["imap"] == f"127.0.0.1:{port}"
    assert Limits.model_validate(said["limits"]).sessions_per_address >= 9000
    assert {listener["protocol"] for listener in said["listeners"].values()} == {"imap", "pop3"}
    assert all(set(listener) <= set(Listener.model_fields) for listener in said["listeners"].values())
    assert said["workers"]["count"] == peers.WORKERS
    plugins = {*said.get("plugins", {}), *said["listeners"]["imaps"].get("plugins", {})}
    assert plugins == ({"meeting_links", "size_estimates", "public_folders"} if name == "portico-plugins" else set())


def test_the_pure_source_beside_compiled_modules_is_asked_for_by_an_environment_variable(tmp_path: Path) -> None:
    argv = peers.PEERS["portico-pure"](place(tmp_path))
    assert argv[:2] == ["env", "PORTICO_PURE=1"]
    assert argv[2:] == peers.PEERS["portico"](place(tmp_path))


def test_every_peer_listens_where_it_is_told(tmp_path: Path) -> None:
    at = place(tmp_path)
    peers.haproxy(at)
    peers.dovecot_proxy(at)
    assert f"nbthread {peers.WORKERS}" in (tmp_path / "haproxy.cfg").read_text()
    for name in ("haproxy.cfg", "dovecot.conf"):
        text = (tmp_path / name).read_text()
        assert all(str(port) in text for port in (2001, 2002, 3001, 3002))


def test_the_backends_messages_are_as_long_as_their_names_say(tmp_path: Path) -> None:
    dovecot._fill(tmp_path / "box", [700, 2000, 99_999])
    sizes = sorted(path.stat().st_size for path in (tmp_path / "box" / "cur").iterdir())
    assert sizes == [700, 2000, 99_999]


def test_ordinary_mail_has_no_line_that_pop3_would_write_otherwise() -> None:
    messages = [dovecot._ordinary(number) for number in range(1, 60)] + [dovecot._invitation(1)]
    for message in messages:
        lines = message.split(b"\r\n")
        assert lines[-1] == b""
        assert not any(line.startswith(b".") or b"\n" in line or len(line) > 998 for line in lines)
    assert len({len(message) for message in messages}) > 50
    assert all(b"text/calendar" not in message for message in messages[:-1])


def test_the_tally_counts_octets_both_ways_and_the_commands_of_the_proxy_itself() -> None:
    with socket.create_server(("127.0.0.1", 0)) as backend, socket.create_server(("127.0.0.1", 0)) as spare:
        port = spare.getsockname()[1]
        spare.close()
        tally = Tally(port, backend.getsockname()[1])
        with socket.create_connection(("127.0.0.1", port)) as proxy:
            server, _ = backend.accept()
            with server:
                proxy.sendall(b"portico1 FETCH 1:2 (UID)\r\na1 NOOP\r\n")
                assert server.recv(35, socket.MSG_WAITALL).startswith(b"portico1 ")
                server.sendall(b"a1 OK\r\n")
                assert proxy.recv(100) == b"a1 OK\r\n"
        counts = tally.take()
        tally.close()
    assert (counts.commands, counts.up, counts.down) == (1, 35, 7)


def test_a_process_is_counted_with_what_it_started() -> None:
    among = {1: machine.Process(0, 1.0, 1), 2: machine.Process(1, 2.0, 1), 3: machine.Process(2, 4.0, 1), 4: machine.Process(9, 8.0, 1)}
    assert machine.descendants([2], among) == {2, 3}
    assert machine.descendants([7], among) == set()


def test_cpu_is_counted_finer_than_in_ticks_and_only_grows() -> None:
    before = machine.cpu([os.getpid()])
    sum(range(100_000))
    after = machine.cpu([os.getpid()])
    assert 0 < before < after < before + 60


def test_a_target_without_tls_says_so_to_the_load_generator() -> None:
    assert Target("direct", 143, 110, [], tls=False).arguments(pop3=True) == ["--host", "127.0.0.1", "--port", "110", "--plain", "--pop3"]


def test_the_time_of_a_list_or_copy_is_held_against_that_at_the_store_in_the_same_round() -> None:
    figures = {
        "LIST, at the store": [(10.0, 0.0), (20.0, 0.0), (10.0, 0.0)],
        "LIST, with the personal tree": [(15.0, 4.0), (20.0, 6.0), (30.0, 5.0)],
        "COPY across": [(3.0, 0.5)] * 3,
        "APPEND at the store, in one command": [(2.0, 0.0)] * 3,
    }
    rows = folders.table(figures).splitlines()
    assert rows[3] == "| LIST, with the personal tree | 20 ms | 1.50 (1.00-3.00) | 5 ms |"
    assert rows[4] == "| COPY across | 3 ms | 1.50 (1.50-1.50) | 0.5 ms |"


def test_a_measure_that_wants_ordinary_mail_is_measured_in_front_of_it() -> None:
    plan = plan_of(options(measures="login,mail,list_first"))
    assert (plan.measures, plan.ordinary) == (("login",), ("mail", "list_first"))
    usual = plan_of(options(quick=False, measures=None))
    assert (usual.measures, usual.ordinary) == (MEASURES, ORDINARY)


def test_five_rounds_are_measured_unless_others_are_asked_for() -> None:
    assert plan_of(options(quick=False, measures=None)).rounds >= 5
    assert plan_of(options(quick=False, growth=True, measures=None)).measures == ("growth",)
    assert plan_of(options(quick=False, growth=True, measures=None, rounds=3)).growths == 3
