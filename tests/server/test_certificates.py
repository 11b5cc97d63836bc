"""Certificates: refused by name at start, followed on SIGHUP, and made by `outcrop tls`."""

import signal
import socket
import ssl
import stat
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import NameOID

from outcrop.server import cli
from outcrop.server.certificates import ServerCertificate, check_certificate
from outcrop.server.config import Config, ConfigurationError, TlsConfig, load_config
from outcrop.server.doctor import examine
from outcrop.server.local_ca import LocalAuthority, names_for
from outcrop.server.tls import ListenerTls, local_ca_file, local_files
from tests.outcrop_process import OutcropProcess, outcrop_process
from tests.server.certificate_files import CertificateFiles
from tests.server.serving import fake_server
from tests.server.wire import GET, ask, wire
from tests.waiting import eventually

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
NO_EMBEDDED = "\n[embedded]\nenabled = false\n"


@pytest.fixture
def files(tmp_path: Path) -> CertificateFiles:
    folder = tmp_path / "certificates"
    folder.mkdir()
    return CertificateFiles(folder)


def run(*arguments: object) -> int:
    try:
        return cli.main([str(argument) for argument in arguments])
    except SystemExit as ended:
        return int(ended.code or 0)


def encrypt(files: CertificateFiles) -> None:
    key = load_pem_private_key(files.key_file.read_bytes(), password=None)
    encryption = BestAvailableEncryption(b"password")
    files.key_file.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption))


def shorten(files: CertificateFiles) -> None:
    """A key that OpenSSL finds too short."""
    key = rsa.generate_private_key(65_537, 1_024)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), 1, now, now + timedelta(days=1))
    ).sign(key, SHA256())
    files.certificate_file.write_bytes(certificate.public_bytes(Encoding.PEM))
    files.key_file.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))


def mismatch(files: CertificateFiles) -> None:
    key = files.key_file.read_bytes()
    files.issue()
    files.key_file.write_bytes(key)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda files: files.certificate_file.unlink(), "server.pem: No such file or directory"),
        (lambda files: files.key_file.unlink(), "server.key: No such file or directory"),
        (lambda files: files.certificate_file.write_text("x"), "it holds no certificate in PEM"),
        (lambda files: files.key_file.write_text("x"), "it holds no private key in PEM"),
        (mismatch, "it is not the key of"),
        (encrypt, "the key is encrypted"),
        (shorten, "EE_KEY_TOO_SMALL"),
        (lambda files: files.issue(ends=timedelta(hours=-1)), "it expired at 20"),
        (
            lambda files: files.issue(begins=timedelta(hours=1)),
            "it is valid only from 20",
        ),
        (lambda files: files.ca_file.write_text("x"), "ca.pem: it holds no certificate"),
        (lambda files: files.ca_file.unlink(), "ca.pem: No such file or directory"),
    ],
)
def test_a_certificate_that_cannot_serve_is_refused_by_name(
    files: CertificateFiles,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    spoil: Callable[[CertificateFiles], None],
    message: str,
) -> None:
    spoil(files)
    path = tmp_path / "outcrop.toml"
    path.write_text(files.config(f"client_ca_file = '{files.ca_file}'"))

    assert run("serve", "--listen", "127.0.0.1:0", "--state", tmp_path, "--config", path) == 1

    said = capsys.readouterr().err
    assert said.startswith("outcrop: tls.")
    assert message in said
    assert said.count("\n") == 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("key_file = 'x'", "tls.key_file is of no use without tls.certificate_file"),
        ("client_ca_file = 'x'", "tls.client_ca_file is of no use without tls.enabled = true"),
        ("client_auth = 'maybe'", "`tls.client_auth`: Invalid enum value 'maybe'"),
        ("cert = 'x'", "unknown key `tls.cert`"),
    ],
)
def test_what_makes_no_sense_is_refused(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "outcrop.toml"
    path.write_text(f"[tls]\n{text}")

    with pytest.raises(ConfigurationError, match=message.replace("`", ".")):
        load_config(path, {})


def test_tls_lets_it_listen_beyond_loopback(tmp_path: Path) -> None:
    path = tmp_path / "outcrop.toml"
    path.write_text('listen = "0.0.0.0:8443"\n[tls]\nclient_auth = "optional"')

    assert load_config(path, {"tls": {"enabled": True}}).tls == TlsConfig(
        enabled=True, client_auth="optional"
    )
    with pytest.raises(ConfigurationError, match="serve with TLS"):
        load_config(path, {})


def reload(server: OutcropProcess, until: str) -> None:
    before = server.log.read_text().count(until)
    server.process.send_signal(signal.SIGHUP)
    assert eventually(lambda: server.log.read_text().count(until) > before), server.log.read_text()


def shown_at(port: int, client: ssl.SSLContext) -> int:
    """The serial number of the certificate that a new connection sees."""
    with wire(port, client) as connection:
        assert isinstance(connection.socket, ssl.SSLSocket)
        certificate = connection.socket.getpeercert(binary_form=True)
    assert certificate
    return x509.load_der_x509_certificate(certificate).serial_number


@pytest.mark.slow
def test_new_connections_see_a_new_certificate_and_old_ones_go_on(
    files: CertificateFiles, tmp_path: Path
) -> None:
    client = files.client()
    with (
        outcrop_process(tmp_path / "state", config=files.config() + NO_EMBEDDED) as server,
        wire(server.port, client) as old,
    ):
        first = shown_at(server.port, client)
        files.issue()
        reload(server, "SIGHUP: the configuration was read again")

        assert shown_at(server.port, client) != first
        old.send(GET)
        assert old.answer().status == 403


@pytest.mark.slow
def test_a_new_certificate_that_cannot_serve_leaves_the_old_one(
    files: CertificateFiles, tmp_path: Path
) -> None:
    client = files.client()
    with outcrop_process(tmp_path / "state", config=files.config() + NO_EMBEDDED) as server:
        first = shown_at(server.port, client)
        mismatch(files)
        reload(server, "it is not the key of")

        assert shown_at(server.port, client) == first
        assert "SIGHUP: the configuration stays as it was" in server.log.read_text()


def test_a_reload_neither_turns_tls_on_nor_off(files: CertificateFiles) -> None:
    on = Config(tls=TlsConfig(certificate_file=files.certificate_file, key_file=files.key_file))

    for before, after in ((on, Config()), (Config(), on)):
        tls = ListenerTls(before, lambda: datetime.now(UTC))
        with pytest.raises(ConfigurationError, match="only a restart"):
            tls.prepared(after)


# The local authority.


def made(state: Path, *names: str, now: datetime = NOW) -> ServerCertificate:
    LocalAuthority(state).renew(names_for(["us-east-1", "cn-north-1"], names), now)
    return check_certificate(local_files(state), now)


def test_the_local_certificate_is_for_this_machine_and_for_amazons_names(tmp_path: Path) -> None:
    certificate = made(tmp_path, "outcrop.example.net", "10.0.0.7")

    for host in (
        *("localhost", "127.0.0.1", "::1", "outcrop.example.net", "10.0.0.7"),
        *("bedrock.us-east-1.amazonaws.com", "bedrock-runtime.us-east-1.amazonaws.com"),
        *("sts.amazonaws.com", "ce.us-east-1.amazonaws.com"),
        "bedrock.cn-north-1.amazonaws.com.cn",
    ):
        assert certificate.covers(host), host
    for host in ("example.net", "x.bedrock.us-east-1.amazonaws.com", "10.0.0.8", "com"):
        assert not certificate.covers(host), host
    assert certificate.not_after == NOW + timedelta(days=365)


def test_its_files_are_for_their_owner_alone(tmp_path: Path) -> None:
    made(tmp_path)

    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "tls").iterdir()}
    assert modes == dict.fromkeys(("ca.key", "ca.pem", "server.key", "server.pem"), 0o600)
    assert stat.S_IMODE((tmp_path / "tls").stat().st_mode) == 0o700


def test_renewing_keeps_the_authority_and_the_names(tmp_path: Path) -> None:
    made(tmp_path, "one.example.net")
    authority, key = local_ca_file(tmp_path).read_bytes(), local_files(tmp_path).key.read_bytes()

    later = made(tmp_path, "two.example.net", now=NOW + timedelta(days=400))

    assert local_ca_file(tmp_path).read_bytes() == authority
    assert local_files(tmp_path).key.read_bytes() != key
    assert {"one.example.net", "two.example.net"} <= set(later.names)


@pytest.mark.parametrize(("days", "renewed"), [(1, False), (334, False), (336, True), (400, True)])
def test_a_start_renews_what_ends_soon(tmp_path: Path, days: int, *, renewed: bool) -> None:
    made(tmp_path)
    before = local_files(tmp_path).certificate.read_bytes()

    LocalAuthority(tmp_path).ensure((), NOW + timedelta(days=days))

    assert (local_files(tmp_path).certificate.read_bytes() != before) is renewed


def test_a_start_mends_what_a_crash_left_half_done(tmp_path: Path) -> None:
    made(tmp_path, "one.example.net")
    local_files(tmp_path).key.unlink()

    LocalAuthority(tmp_path).ensure((), NOW)

    assert check_certificate(local_files(tmp_path), NOW).covers("one.example.net")


@pytest.mark.parametrize("name", ["ca.pem", "ca.key"])
def test_a_damaged_authority_is_not_replaced_in_silence(tmp_path: Path, name: str) -> None:
    made(tmp_path)
    (tmp_path / "tls" / name).write_text("x")

    with pytest.raises(ConfigurationError, match="clients must be given its ca"):
        made(tmp_path)


def test_an_authority_that_ends_soon_is_said_to(tmp_path: Path) -> None:
    made(tmp_path)

    with pytest.raises(ConfigurationError, match="ends too soon"):
        made(tmp_path, now=NOW + timedelta(days=3_400))


def test_outcrop_tls_says_how_to_use_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("tls", "--state", tmp_path, "--name", "outcrop.example.net") == 0

    said = capsys.readouterr().out
    assert f"export AWS_CA_BUNDLE={local_ca_file(tmp_path)}" in said
    assert "127.0.0.1 bedrock.us-east-1.amazonaws.com" in said
    assert "outcrop.example.net" in said
    assert "PRIVATE KEY" not in said


@pytest.mark.parametrize("in_the_way", ["", "tls"])
def test_outcrop_tls_says_where_it_cannot_write(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], in_the_way: str
) -> None:
    state = tmp_path / "state"
    state.mkdir() if in_the_way else None
    (state / in_the_way).touch()

    assert run("tls", "--state", state) == 1

    said = capsys.readouterr().err
    assert said.startswith("outcrop: ")
    assert str(state / in_the_way) in said
    assert said.count("\n") == 1


def test_outcrop_tls_refuses_what_is_no_name(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("tls", "--state", tmp_path, "--name", "münchen.example") == 1

    assert capsys.readouterr().err.startswith("outcrop: --name münchen.example: no DNS name")


def test_a_server_makes_its_certificate_and_env_exports_whom_to_believe(tmp_path: Path) -> None:
    with fake_server(tmp_path, arguments=("--tls",)) as server:
        (tmp_path / "credentials").write_text(
            "[default]\naws_access_key_id = AKIAIOSFODNN7EXAMPLE\n"
            "aws_secret_access_key = wJalrXUtnFEMIK7MDENG\naws_account_id = 123456789012\n"
        )
        exported = server.environment()
        client = ssl.create_default_context(cafile=exported["AWS_CA_BUNDLE"])
        answer = ask(server.port, GET, client)
        with (
            socket.create_connection(("127.0.0.1", server.port)) as plain,
            client.wrap_socket(
                plain, server_hostname="bedrock-runtime.eu-west-1.amazonaws.com"
            ) as amazons,
        ):
            amazons.sendall(GET)
            assert amazons.recv(12) == b"HTTP/1.1 200"

    assert answer.status == 200
    assert exported["AWS_ENDPOINT_URL_BEDROCK"] == server.url == f"https://127.0.0.1:{server.port}"
    assert exported["NODE_EXTRA_CA_CERTS"] == str(local_ca_file(tmp_path))


def test_a_server_is_reached_by_a_name_of_its_certificate(
    files: CertificateFiles, tmp_path: Path
) -> None:
    files.issue("outcrop.example.net")

    with fake_server(tmp_path, config=files.config()) as server:
        assert server.url == f"https://outcrop.example.net:{server.port}"


def findings(tmp_path: Path, text: str) -> list[str]:
    path = tmp_path / "outcrop.toml"
    path.write_text(text + NO_EMBEDDED)
    url = "https://127.0.0.1:1"
    state = tmp_path / "state"
    found = examine(config_path=path, state=state, url=url, clock=lambda: datetime.now(UTC))
    return [finding.text() for finding in found]


@pytest.mark.parametrize(("days", "mark"), [(90, "ok     certificate"), (29, "WRONG  certificate")])
def test_doctor_warns_thirty_days_ahead(
    files: CertificateFiles, tmp_path: Path, days: int, mark: str
) -> None:
    files.issue(ends=timedelta(days=days, minutes=1))

    (said,) = [line for line in findings(tmp_path, files.config()) if "ends in" in line]

    assert said.startswith(mark)
    assert f"ends in {days} days" in said


def test_doctor_says_what_is_wrong_with_a_certificate(
    files: CertificateFiles, tmp_path: Path
) -> None:
    mismatch(files)

    assert any("WRONG  tls.key_file" in line for line in findings(tmp_path, files.config()))


def test_doctor_sees_a_key_that_others_can_read(files: CertificateFiles, tmp_path: Path) -> None:
    files.key_file.chmod(0o644)

    said = findings(tmp_path, files.config())

    assert any(f"chmod 600 {files.key_file}" in line for line in said)


@pytest.mark.slow
def test_doctor_and_explain_ask_a_server_over_tls(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with outcrop_process(tmp_path, config=NO_EMBEDDED, arguments=("--tls",)) as server:
        run("doctor", "--state", tmp_path, "--config", tmp_path / "config.toml")

        said = capsys.readouterr().out
        assert f"ok     server at {server.url} answers a signed ListInferenceProfiles" in said
        assert run("explain", "us.amazon.nova-lite-v1:0", "--state", tmp_path) == 0
