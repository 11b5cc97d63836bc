"""`outcrop tls`, and what `outcrop serve` does about its certificate before it serves."""

from collections.abc import Iterator, Sequence
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import urlsplit

from outcrop.server.certificates import check_certificate
from outcrop.server.config import Config, split_address
from outcrop.server.endpoint import Endpoint
from outcrop.server.local_ca import LocalAuthority, names_for
from outcrop.server.tls import context_of, local_ca_file, tls_files
from outcrop.store.catalogue import Catalogue
from outcrop.wire.timestamps import Clock

# Of Amazon's services that are answered here.
HOSTS = ("bedrock", "bedrock-runtime", "monitoring", "ce", "sts")


def prepare(config: Config, clock: Clock) -> None:
    """Makes the local certificate where it is wanted and absent, or about to end.

    Raises ConfigurationError for a certificate that nobody could be served with.
    """
    if config.tls.local:
        LocalAuthority(config.state).ensure(_names(config, ()), clock())
    context_of(config, clock)


def renew(config: Config, extra: Sequence[str], clock: Clock) -> None:
    """Raises ConfigurationError."""
    LocalAuthority(config.state).renew(_names(config, extra), clock())


def https_endpoint(config: Config, url: str, clock: Clock) -> Endpoint:
    ca_file = str(local_ca_file(config.state).absolute()) if config.tls.local else None
    return Endpoint(url=_covered(config, url, clock), region=config.region, ca_file=ca_file)


def _covered(config: Config, url: str, clock: Clock) -> str:
    """The URL with a host that the certificate is for: an operator's knows no 127.0.0.1."""
    where = urlsplit(url)
    certificate = check_certificate(tls_files(config), clock())
    if certificate.covers(where.hostname or "") or certificate.plain_name is None:
        return url
    return f"https://{certificate.plain_name}:{where.port}"


def trusted_by(ca_file: Path | str) -> dict[str, str]:
    """Variables that make clients believe the authority: those of AWS, and Node.js."""
    return {"AWS_CA_BUNDLE": str(ca_file), "NODE_EXTRA_CA_CERTS": str(ca_file)}


def instructions(config: Config, state_flag: str, clock: Clock) -> Iterator[str]:
    """What to do with the certificate in place, line by line."""
    files, ca_file = tls_files(config), local_ca_file(config.state).absolute()
    certificate = check_certificate(files, clock())
    yield f"Certificate of {files.certificate} until {certificate.not_after:%Y-%m-%d}, for:"
    yield f"  {', '.join(name for name in certificate.names if 'amazonaws' not in name)},"
    yield f"  *.amazonaws.com and *.<region>.amazonaws.com, such as {_hosts(config)[0]}"
    yield ""
    yield f"Serve with it:        outcrop serve --tls{state_flag}"
    yield "  (a server that runs already takes it up on SIGHUP)"
    yield f'Clients here:         eval "$(outcrop env{state_flag})"'
    yield "Clients elsewhere:    copy ca.pem, which is no secret, and"
    for name, value in trusted_by(ca_file).items():
        yield f"  export {name}={value}"
    yield "Clients with hard-coded hosts: serve on port 443, and lead Amazon's names here,"
    yield "  in /etc/hosts:      " + " ".join((_address(config), *_hosts(config)))
    yield "  or in DNS, as dnsmasq has it:"
    for host in _hosts(config):
        yield f"  address=/{host}/{_address(config)}"


def _names(config: Config, extra: Sequence[str]) -> Sequence[str]:
    regions = sorted({*Catalogue().regions, config.region})
    host, _ = split_address(config.listen)
    own = () if _is_unspecified(host) else (host,)
    return names_for(regions, (*own, *extra))


def _hosts(config: Config) -> Sequence[str]:
    return [f"{service}.{config.region}.amazonaws.com" for service in HOSTS]


def _address(config: Config) -> str:
    host, _ = split_address(config.listen)
    return "127.0.0.1" if host == "localhost" or _is_unspecified(host) else host


def _is_unspecified(host: str) -> bool:
    try:
        return ip_address(host).is_unspecified
    except ValueError:
        return False
