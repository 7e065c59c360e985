"""Prometheus itself reads what Portico tells it: Debian's, unpacked, with the alert rules and the dashboard of docs/deploy."""

from __future__ import annotations

import imaplib
import json
import os
import re
import signal
import subprocess
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from portico.demo.certificates import Certificates
from portico.demo.child import Child
from portico.demo.dovecot import Dovecot
from portico.demo.ports import LOOPBACK, free_ports, wait_until
from prometheus_client.parser import text_string_to_metric_families as parse

from tests.live.conftest import unpacked
from tests.live.front import Front
from tests.live.people import PASSWORD, People

pytestmark = pytest.mark.live
PATIENCE = 60.0
ALERT_TESTS = """
rule_files: [portico-alerts.yml]
evaluation_interval: 1m
tests:
  - interval: 1m
    input_series:
      - {series: 'up{job="portico",instance="a"}', values: '1x5 0x5'}
      - {series: 'portico_ready{instance="a"}', values: '1x10'}
      - {series: 'portico_server_up{instance="a",server="mail1",protocol="imap"}', values: '1x2 0x8'}
      - {series: 'portico_logins_total{instance="a",protocol="imap",result="ok"}', values: '0+600x10'}
      - {series: 'portico_logins_total{instance="a",protocol="imap",result="wrong"}', values: '0+6x10'}
      - {series: 'portico_logins_total{instance="a",protocol="imap",result="unavailable"}', values: '0+60x10'}
      - {series: 'portico_worker_ends_total{instance="a"}', values: '0 0 3x8'}
    alert_rule_test:
      - {eval_time: 10m, alertname: PorticoDown, exp_alerts: [{exp_labels: {severity: critical, instance: a, job: portico},
         exp_annotations: {summary: "Portico on a does not answer."}}]}
      - {eval_time: 10m, alertname: PorticoNotReady, exp_alerts: []}
      - {eval_time: 10m, alertname: PorticoServerDown, exp_alerts: [{exp_labels: {severity: critical, instance: a, server: mail1,
         protocol: imap}, exp_annotations: {summary: "No logins go to mail1 (imap)."}}]}
      - {eval_time: 10m, alertname: PorticoLoginsUnavailable, exp_alerts: [{exp_labels: {severity: critical, instance: a, protocol: imap},
         exp_annotations: {summary: "More than 5 % of the imap logins fail for want of a server."}}]}
      - {eval_time: 10m, alertname: PorticoWrongLogins, exp_alerts: []}
      - {eval_time: 4m, alertname: PorticoWorkerEnds, exp_alerts: [{exp_labels: {severity: warning, instance: a},
         exp_annotations: {summary: "Worker processes of Portico on a end unasked, with their sessions."}}]}
"""


@pytest.fixture(scope="module")
def programs(project: Path) -> Path:
    """The directory with prometheus and promtool."""
    return unpacked("prometheus", project) / "usr" / "bin"


@pytest.fixture(scope="module")
def front(place: Path, dovecot: Dovecot, certificates: Certificates) -> Iterator[Front]:
    more = f'[workers]\ncount = 2\n[metrics]\naddress = "{LOOPBACK}:0"\n[log]\nlevel = "info"\nformat = "json"\n'
    front = Front(place / "watched-over", dovecot.ports, certificates, more=more)
    front.start()
    wait_until("the endpoint", lambda: bool(front.events("metrics.opened")), seconds=PATIENCE)
    yield front
    front.stop()


@pytest.fixture(scope="module")
def endpoint(front: Front) -> str:
    """Where the metrics are, as the log says."""
    (address,) = front.events("metrics.opened")[0]["addresses"]
    return str(address)


@pytest.fixture
def monitoring(project: Path) -> Path:
    return project / "docs" / "deploy" / "monitoring"


def get(address: str, path: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(f"http://{address}{path}", timeout=PATIENCE) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def number(page: str, name: str, **labels: str) -> float:
    """The sum of all samples of a metric that have these labels."""
    samples = [sample for family in parse(page) for sample in family.samples if sample.name == name]
    return sum(sample.value for sample in samples if labels.items() <= sample.labels.items())


def sign_in(front: Front, user: str, password: str = PASSWORD) -> imaplib.IMAP4:
    connection = imaplib.IMAP4(LOOPBACK, front.clear.imap)
    connection.login(user, password)
    return connection


def checked(command: list[str | Path], text: str = "") -> str:
    done = subprocess.run(command, input=text, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_promtool_finds_nothing_to_say_against_metrics_rules_and_settings(
    programs: Path, front: Front, endpoint: str, monitoring: Path, people: People, dovecot: Dovecot
) -> None:
    sign_in(front, people.new(dovecot)).logout()
    status, page = get(endpoint, "/metrics")
    assert status == 200
    assert checked([programs / "promtool", "check", "metrics"], page) == ""
    assert "16 rules found" in checked([programs / "promtool", "check", "rules", monitoring / "portico-alerts.yml"])
    checked([programs / "promtool", "check", "config", "--syntax-only", monitoring / "prometheus.yml"])


def test_the_alerts_fire_when_they_should(programs: Path, monitoring: Path, tmp_path: Path) -> None:
    (tmp_path / "portico-alerts.yml").write_bytes((monitoring / "portico-alerts.yml").read_bytes())
    (tmp_path / "tests.yml").write_text(ALERT_TESTS)
    assert "SUCCESS" in checked([programs / "promtool", "test", "rules", tmp_path / "tests.yml"])


def test_workers_are_one_sum_and_what_a_killed_one_has_counted_stays(front: Front, endpoint: str, people: People, dovecot: Dovecot) -> None:
    user = people.new(dovecot)
    before = number(get(endpoint, "/metrics")[1], "portico_logins_total", result="ok")
    sessions = [sign_in(front, user) for _ in range(12)]
    workers = {event["worker"]: event["pid"] for event in front.events("worker.started")}
    # A session of the test before may not have ended for the proxy yet.
    wait_until("12 sessions", lambda: number(get(endpoint, "/metrics")[1], "portico_sessions", state="tunnel") == 12, seconds=PATIENCE)
    page = get(endpoint, "/metrics")[1]
    assert number(page, "portico_logins_total", result="ok") == before + 12
    assert len({event["worker"] for event in front.events("login.succeeded")}) == 2  # so it is a sum
    assert number(page, "portico_workers") == 2
    os.kill(workers[0], signal.SIGKILL)
    wait_until("another worker", lambda: len(front.events("worker.started")) > len(workers), seconds=PATIENCE)
    page = get(endpoint, "/metrics")[1]
    assert number(page, "portico_logins_total", result="ok") == before + 12
    assert number(page, "portico_worker_ends_total") == 1
    assert 0 < number(page, "portico_sessions", state="tunnel") < 12
    status, text = get(endpoint, "/readyz")
    assert (status, json.loads(text)["problems"]) == (200, [])
    for session in sessions:
        session.shutdown()


def test_prometheus_reads_it_and_every_query_of_the_dashboard_can_be_answered(
    programs: Path, front: Front, endpoint: str, monitoring: Path, tmp_path: Path
) -> None:
    address = f"{LOOPBACK}:{free_ports(1)[0]}"
    settings = (monitoring / "prometheus.yml").read_text().replace("localhost:9110", endpoint).replace("15s", "1s")
    (tmp_path / "prometheus.yml").write_text(settings)
    (tmp_path / "portico-alerts.yml").write_bytes((monitoring / "portico-alerts.yml").read_bytes())
    options = [f"--config.file={tmp_path}/prometheus.yml", f"--storage.tsdb.path={tmp_path}/data", f"--web.listen-address={address}"]
    prometheus = Child([str(programs / "prometheus"), *options], log=tmp_path / "log")
    prometheus.start()

    def asked(what: str, **parameters: str) -> Any:
        status, text = get(address, f"/api/v1/{what}?{urllib.parse.urlencode(parameters)}")
        assert status == 200, text
        return json.loads(text)["data"]

    def scraped() -> bool:
        try:
            return get(address, "/-/ready")[0] == 200 and bool(asked("query", query="portico_ready")["result"])
        except OSError:  # it does not answer yet
            return False

    try:
        wait_until("Prometheus", scraped, seconds=PATIENCE, alive=lambda: prometheus.running)
        board = json.loads((monitoring / "portico-dashboard.json").read_text())
        queries = [target["expr"] for panel in board["panels"] for target in panel.get("targets", ())]
        for query in queries:
            query = query.replace("$__rate_interval", "1m").replace("$instance", ".*")
            assert asked("query", query=query)["resultType"] == "vector", query
        (sessions,) = asked("query", query='sum(portico_connections_total{protocol="imap"})')["result"]
        assert float(sessions["value"][1]) > 0
        (target,) = asked("targets")["activeTargets"]
        assert (target["health"], target["lastError"]) == ("up", "")
        rules = asked("rules")["groups"][0]["rules"]
        assert len(rules) == len(re.findall(r"- alert:", (monitoring / "portico-alerts.yml").read_text()))
        assert {rule["lastError"] for rule in rules if "lastError" in rule} <= {""}
    finally:
        prometheus.stop()
