"""The certificates of the tests are believed by who trusts their authority, and by nobody else."""

from __future__ import annotations

import datetime
import socket
import ssl
import threading
from pathlib import Path

import pytest

from tests.peers.certificates import Certificates, make_certificates


def shake_hands(server: Certificates, client: ssl.SSLContext, name: str = "localhost") -> str | None:
    ours, theirs = socket.socketpair()
    with ours, theirs:

        def serve() -> None:
            try:
                server.server_context().wrap_socket(theirs, server_side=True).close()
            except ssl.SSLError:
                theirs.close()

        serving = threading.Thread(target=serve)
        serving.start()
        try:
            with client.wrap_socket(ours, server_hostname=name) as connection:
                return connection.version()
        finally:
            ours.close()
            serving.join()


@pytest.mark.parametrize("name", ["localhost", "idp.localhost", "127.0.0.1", "::1"])
def test_a_loopback_server_is_believed(certificates: Certificates, name: str) -> None:
    assert shake_hands(certificates, certificates.client_context(), name) == "TLSv1.3"


def test_another_name_is_not_believed(certificates: Certificates) -> None:
    with pytest.raises(ssl.SSLCertVerificationError, match="Hostname mismatch"):
        shake_hands(certificates, certificates.client_context(), "elsewhere.example")


def test_another_authority_is_not_believed(certificates: Certificates) -> None:
    with pytest.raises(ssl.SSLCertVerificationError, match="unable to get local issuer certificate"):
        shake_hands(certificates, ssl.create_default_context())


def test_an_ended_certificate_is_not_believed(tmp_path: Path) -> None:
    ended = make_certificates(tmp_path, valid_from=datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC))
    with pytest.raises(ssl.SSLCertVerificationError, match="expired"):
        shake_hands(ended, ended.client_context())
