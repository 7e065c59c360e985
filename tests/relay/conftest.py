"""Certificates and contexts, made once for all tests of the relay."""

from __future__ import annotations

import ssl

import pytest
from portico.tls.contexts import client_context, server_context

from tests.relay import certs as certificates
from tests.relay.certs import Certs


@pytest.fixture(scope="session")
def certs(tmp_path_factory: pytest.TempPathFactory) -> Certs:
    return certificates.make(tmp_path_factory.mktemp("certs"))


@pytest.fixture(scope="session")
def server_tls(certs: Certs) -> ssl.SSLContext:
    return server_context(certs.server, certs.server_key)


@pytest.fixture
def client_tls(certs: Certs) -> ssl.SSLContext:
    return client_context(ca_file=certs.ca)
