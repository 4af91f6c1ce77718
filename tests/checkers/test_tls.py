"""What sslyze finds at the server's TLS."""

from typing import Any

import pytest
from sslyze import (
    Scanner,
    ScanCommand,
    ScanCommandAttemptStatusEnum,
    ServerNetworkLocation,
    ServerScanRequest,
    ServerScanStatusEnum,
)

from tidewire_stranger import daemon as daemons

OLD = [
    ScanCommand.SSL_2_0_CIPHER_SUITES,
    ScanCommand.SSL_3_0_CIPHER_SUITES,
    ScanCommand.TLS_1_0_CIPHER_SUITES,
    ScanCommand.TLS_1_1_CIPHER_SUITES,
]
WANTED = [
    *OLD,
    ScanCommand.TLS_1_2_CIPHER_SUITES,
    ScanCommand.TLS_1_3_CIPHER_SUITES,
    ScanCommand.TLS_COMPRESSION,
    ScanCommand.TLS_1_3_EARLY_DATA,
    ScanCommand.HEARTBLEED,
    ScanCommand.OPENSSL_CCS_INJECTION,
    ScanCommand.ROBOT,
    ScanCommand.SESSION_RENEGOTIATION,
    ScanCommand.SESSION_RESUMPTION,
    ScanCommand.ELLIPTIC_CURVES,
    ScanCommand.TLS_EXTENDED_MASTER_SECRET,
]


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[ScanCommand, Any]:
    daemon = daemons.start(tmp_path_factory.mktemp("tls"))
    try:
        location = ServerNetworkLocation("localhost", daemon.endpoint.port, "127.0.0.1")
        scanner = Scanner()
        scanner.queue_scans([ServerScanRequest(location, scan_commands=set(WANTED))])
        (result,) = scanner.get_results()
    finally:
        stopped = daemon.stop()
    assert stopped == 0
    assert result.scan_status == ServerScanStatusEnum.COMPLETED, result.connectivity_error_trace
    outcome = {}
    for command in WANTED:
        attempt = getattr(result.scan_result, command.value)
        assert attempt.status == ScanCommandAttemptStatusEnum.COMPLETED, (command, attempt)
        outcome[command] = attempt.result
    return outcome


def suites(found: dict[ScanCommand, Any], command: ScanCommand) -> list[str]:
    return sorted(each.cipher_suite.name for each in found[command].accepted_cipher_suites)


@pytest.mark.parametrize("command", OLD, ids=lambda command: command.value)
def test_old_versions_are_not_spoken(found, command: ScanCommand) -> None:
    assert suites(found, command) == []


def test_tls_1_3_is_spoken(found) -> None:
    assert "TLS_AES_128_GCM_SHA256" in suites(found, ScanCommand.TLS_1_3_CIPHER_SUITES)


def test_tls_1_2_has_forward_secrecy_and_authenticated_encryption_only(found) -> None:
    names = suites(found, ScanCommand.TLS_1_2_CIPHER_SUITES)
    assert names
    for name in names:
        assert name.startswith("TLS_ECDHE_ECDSA_"), name
        assert "_GCM_" in name or "_CHACHA20_POLY1305_" in name, name


def test_what_was_broken_before_is_not_there(found) -> None:
    assert not found[ScanCommand.TLS_COMPRESSION].supports_compression
    assert not found[ScanCommand.HEARTBLEED].is_vulnerable_to_heartbleed
    assert not found[ScanCommand.OPENSSL_CCS_INJECTION].is_vulnerable_to_ccs_injection
    assert found[ScanCommand.ROBOT].robot_result.name.startswith("NOT_VULNERABLE")
    assert not found[ScanCommand.TLS_1_3_EARLY_DATA].supports_early_data
    renegotiation = found[ScanCommand.SESSION_RENEGOTIATION]
    assert not renegotiation.is_vulnerable_to_client_renegotiation_dos
    assert renegotiation.supports_secure_renegotiation
    assert found[ScanCommand.TLS_EXTENDED_MASTER_SECRET].supports_ems_extension


def test_keys_are_exchanged_over_strong_curves(found) -> None:
    curves = {curve.name for curve in found[ScanCommand.ELLIPTIC_CURVES].supported_curves}
    assert "X25519" in curves
    assert curves <= {"X25519", "secp256r1", "secp384r1", "X25519MLKEM768"}, curves


def test_a_client_that_comes_back_is_spared_a_signature(found) -> None:
    resumption = found[ScanCommand.SESSION_RESUMPTION]
    assert resumption.session_id_resumption_result.name == "FULLY_SUPPORTED", resumption
