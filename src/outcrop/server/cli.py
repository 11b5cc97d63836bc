"""The command `outcrop`: serve, env, doctor, explain, models, calibrate, usage, tls, users, keys.

Each command imports what it needs when it runs: `--help` and `env` answer at once, and the parent
process of a server stays small.
"""

import argparse
import re
import shlex
import sys
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from functools import partial
from pathlib import Path
from typing import Any, NoReturn, TypeAlias

from outcrop.server.clock import utc_now
from outcrop.server.config import Config, ConfigurationError, default_state, load_config
from outcrop.server.endpoint import (
    Endpoint,
    await_endpoint,
    new_endpoint,
    read_endpoint,
    write_endpoint,
)
from outcrop.server.tls import ListenerTls

Assemble: TypeAlias = Callable[[Config, ListenerTls], AbstractAsyncContextManager[Any]]

IDENTITY_NOUNS = ("accounts", "users", "roles", "policies", "issuers", "keys", "policy")
OVERRIDES = ("listen", "state", "workers", "allow_remote", "log_level", "tls")


def main(arguments: Sequence[str] | None = None, *, assemble: Assemble | None = None) -> int:
    """`assemble` opens what answers, if not the product: the server's own tests bring theirs."""
    options = _parser().parse_args(arguments, argparse.Namespace(assemble=assemble))
    try:
        code: int = options.run(options)
    except ConfigurationError as error:
        _fail(str(error))
    except BrokenPipeError:
        return 1
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="outcrop", description="Amazon Bedrock's API on models you run."
    )
    parser.add_argument("--version", action=_Version)
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    _add_serve(commands)
    _add_env(commands)
    _add_doctor(commands)
    _add_explain(commands)
    _add_check_config(commands)
    _add_models(commands)
    _add_calibrate(commands)
    _add_usage(commands)
    _add_identity(commands)
    _add_tls(commands)
    return parser


class _Version(argparse.Action):
    def __init__(self, option_strings: Sequence[str], dest: str) -> None:
        super().__init__(option_strings, dest, nargs=0, help="print the version")

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> NoReturn:
        from importlib.metadata import version

        print(f"outcrop {version('outcrop')}")
        parser.exit()


def _add_serve(commands: Any) -> None:
    serve = commands.add_parser("serve", help="run the server until it is told to stop")
    serve.add_argument("--listen", metavar="ADDRESS:PORT", help="default: 127.0.0.1:8787")
    _add_state(serve)
    _add_config(serve)
    serve.add_argument("--workers", type=int, metavar="N", help="processes; default: 1")
    serve.add_argument(
        "--allow-remote",
        action="store_true",
        default=None,
        help="listen on other addresses than loopback, without TLS",
    )
    serve.add_argument(
        "--tls",
        action="store_const",
        const={"enabled": True},
        help="HTTPS, by tls.certificate_file or a local authority (see `outcrop tls`)",
    )
    serve.add_argument("--log-level", choices=["debug", "info", "warning", "error"])
    serve.set_defaults(run=_serve)


def _add_env(commands: Any) -> None:
    env = commands.add_parser(
        "env", help='print exports that point AWS tools at the server: eval "$(outcrop env)"'
    )
    _add_state(env)
    env.add_argument("--url", help="default: where the server last served")
    env.set_defaults(run=_env)


def _add_doctor(commands: Any) -> None:
    doctor = commands.add_parser("doctor", help="say what is wrong and how to mend it")
    _add_state(doctor)
    _add_config(doctor)
    doctor.add_argument("--url", help="default: where the server last served")
    doctor.set_defaults(run=_doctor)


def _add_explain(commands: Any) -> None:
    explain = commands.add_parser(
        "explain", help="say what the running server would do with a model id now, and why"
    )
    explain.add_argument("model_id", metavar="MODEL_ID", help="an id or ARN, as callers write it")
    explain.add_argument("--region", help="the caller's; default: the server's")
    _add_state(explain)
    _add_config(explain)
    explain.add_argument("--url", help="default: where the server last served")
    explain.add_argument("--json", action="store_true", help="for programs")
    explain.set_defaults(run=_explain)


def _add_check_config(commands: Any) -> None:
    check = commands.add_parser("check-config", help="say whether a configuration can be used")
    check.add_argument("config", type=Path, metavar="FILE")
    check.set_defaults(run=_check_config)


def _add_models(commands: Any) -> None:
    models = commands.add_parser(
        "models", help="list the models that are served, their units and what is sold of them"
    )
    _add_state(models)
    _add_config(models)
    models.add_argument("--json", action="store_true", help="for programs")
    models.set_defaults(run=_list_models)
    actions = models.add_subparsers(title="commands", metavar="COMMAND")
    pull = actions.add_parser("pull", help="fetch the embedded models' weights ahead of time")
    _add_config(pull)
    pull.set_defaults(run=_pull_models)


def _add_calibrate(commands: Any) -> None:
    calibrate = commands.add_parser(
        "calibrate", help="measure how many model units of a model its servers sustain"
    )
    calibrate.add_argument("model", metavar="MODEL", help="a model id, or a custom model's name")
    _add_state(calibrate)
    _add_config(calibrate)
    calibrate.add_argument("--server", metavar="NAME", help="default: all that serve the model")
    calibrate.add_argument(
        "--seconds", type=_positive, default=20.0, metavar="S", help="of each step; default: 20"
    )
    calibrate.add_argument("--input-tokens", type=_positive, default=512, metavar="N")
    calibrate.add_argument("--output-tokens", type=_positive, default=128, metavar="N")
    calibrate.add_argument(
        "--out", type=Path, metavar="FILE", help="default: units.toml in the state folder"
    )
    calibrate.set_defaults(run=_calibrate)


def _positive(text: str) -> float:
    number = float(text)
    if not 0 < number < 1_000_000:
        raise ValueError
    return number


def _add_usage(commands: Any) -> None:
    usage = commands.add_parser("usage", help="say what was used, by whom, and what it cost")
    _add_state(usage)
    _add_config(usage)
    usage.add_argument(
        "--by",
        action="append",
        metavar="WHAT",
        help="account, model, principal, profile, provisioned, region, usage-type, tag:KEY, and"
        " hour, day or month; can be repeated; default: model",
    )
    usage.add_argument("--since", default="30d", help="90m, 24h, 7d, 2026-11-01; default: 30d")
    usage.add_argument("--until", help="as --since; default: now")
    forms = usage.add_mutually_exclusive_group()
    for form, text in {
        "json": "as JSON",
        "csv": "as CSV in the columns of FOCUS",
        "plot": "as bars",
        "budgets": "how far each budget is spent",
        "unused": "provisioned models and profiles that nobody called",
    }.items():
        forms.add_argument(f"--{form}", dest="form", action="store_const", const=form, help=text)
    usage.set_defaults(run=_usage)


def _add_identity(commands: Any) -> None:
    """Each of these imports the store: none does unless it is asked for."""
    for noun in IDENTITY_NOUNS:
        one = commands.add_parser(noun, add_help=False, help=f"{noun}: see `outcrop {noun} --help`")
        one.add_argument("rest", nargs=argparse.REMAINDER)
        one.set_defaults(run=partial(_identity, noun))


def _identity(noun: str, options: argparse.Namespace) -> int:
    from outcrop.server.identity_cli import add_commands, run

    parser = argparse.ArgumentParser(prog="outcrop")
    commands = parser.add_subparsers(required=True)

    def common(one: Any) -> None:
        _add_state(one)
        _add_config(one)

    add_commands(commands, common)
    chosen = parser.parse_args([noun, *options.rest])
    lines, code = run(_config(chosen), chosen)
    for line in lines:
        print(line)
    return code


def _add_tls(commands: Any) -> None:
    tls = commands.add_parser(
        "tls", help="make or renew a certificate by a local authority, and say how to use it"
    )
    _add_state(tls)
    _add_config(tls)
    tls.add_argument(
        "--name",
        action="append",
        default=[],
        dest="names",
        metavar="HOST",
        help="a further DNS name or IP address to be reached at; may be repeated",
    )
    tls.set_defaults(run=_tls, tls={"enabled": True, "certificate_file": None, "key_file": None})


def _add_state(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--state", type=Path, metavar="DIR", help=f"default: {default_state()}")


def _add_config(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--config", type=Path, metavar="FILE", help="a TOML file; default: none")


def _config(options: argparse.Namespace) -> Config:
    given = {name: getattr(options, name, None) for name in OVERRIDES}
    return load_config(
        options.config, {name: value for name, value in given.items() if value is not None}
    )


def _serve(options: argparse.Namespace) -> int:
    from outcrop.server.logs import configure_logging
    from outcrop.server.supervisor import serve

    config = _config(options)
    configure_logging(config.log_level)
    _make_state(config)
    if config.tls.serves:
        from outcrop.server.tls_command import prepare

        prepare(config, utc_now)

    def announce(url: str) -> None:
        endpoint = _endpoint(config, url)
        write_endpoint(config.state, endpoint)
        print(_banner(config, endpoint.url), file=sys.stderr, flush=True)

    assemble = options.assemble or partial(_assembled, reread=partial(_config, options))
    with new_endpoint(config.state):
        return serve(config, assemble=assemble, announce=announce)


def _make_state(config: Config) -> None:
    from outcrop.iam.access_keys import make_state_dir

    try:
        make_state_dir(config.state)
    except OSError as error:
        raise ConfigurationError(f"state = {config.state}: {error.strerror}") from error


def _assembled(
    config: Config, tls: ListenerTls, reread: Callable[[], Config]
) -> AbstractAsyncContextManager[Any]:
    from outcrop.server.wiring import assembled

    return assembled(config, clock=utc_now, reread=reread, tls=tls)


def _endpoint(config: Config, url: str) -> Endpoint:
    if not config.tls.serves:
        return Endpoint(url=url, region=config.region)
    from outcrop.server.tls_command import https_endpoint

    return https_endpoint(config, url, utc_now)


def _state_flag(config: Config) -> str:
    return "" if config.state == default_state() else f" --state {shlex.quote(str(config.state))}"


def _banner(config: Config, url: str) -> str:
    state = _state_flag(config)
    lines = [
        f"Outcrop serves Amazon Bedrock's API at {url}",
        f"State: {config.state}",
        f'Point AWS tools at it: eval "$(outcrop env{state})"',
    ]
    if config.stands_in:
        lines.append(
            "The small embedded model stands in for every text model of the catalogue"
            " (see x-outcrop-served-by in each answer)."
        )
    return "\n".join(lines)


def _running(state: Path, url: str | None) -> tuple[Endpoint, Any]:
    """Where the server of a state folder is, and its root access key."""
    from outcrop.iam.access_keys import RootAccessKeyError, read_root_access_key

    await_endpoint(state)
    try:
        key = read_root_access_key(state)
    except RootAccessKeyError as error:
        _fail(str(error))
    endpoint = read_endpoint(state)
    url = (url or endpoint.url).rstrip("/")
    if not re.fullmatch(r"https?://[^\s/]+(/\S*)?", url):
        _fail(f"--url {url!r} is not http://address:port")
    return Endpoint(url=url, region=endpoint.region, ca_file=endpoint.ca_file), key


def _env(options: argparse.Namespace) -> int:
    endpoint, key = _running(options.state or default_state(), options.url)
    url = endpoint.url
    variables = {
        "AWS_ACCESS_KEY_ID": key.access_key_id,
        "AWS_SECRET_ACCESS_KEY": key.secret_access_key,
        "AWS_REGION": endpoint.region,
        "AWS_DEFAULT_REGION": endpoint.region,
        "AWS_ENDPOINT_URL_BEDROCK": url,
        "AWS_ENDPOINT_URL_BEDROCK_RUNTIME": url,
        "AWS_ENDPOINT_URL_CLOUDWATCH": url,
        "AWS_ENDPOINT_URL_COST_EXPLORER": url,
        "AWS_ENDPOINT_URL_STS": url,
    }
    if endpoint.ca_file is not None and url.startswith("https://"):
        from outcrop.server.tls_command import trusted_by

        variables |= trusted_by(endpoint.ca_file)
    for name, value in variables.items():
        print(f"export {name}={shlex.quote(value)}")
    return 0


def _doctor(options: argparse.Namespace) -> int:
    from outcrop.server.doctor import examine

    findings = examine(
        config_path=options.config, state=options.state, url=options.url, clock=utc_now
    )
    healthy = True
    for finding in findings:
        print(finding.text(), flush=True)
        healthy = healthy and not finding.mend
    return 0 if healthy else 1


def _explain(options: argparse.Namespace) -> int:
    import msgspec

    from outcrop.server.explain import explanation, lines
    from outcrop.server.probe import ProbeFailedError

    endpoint, key = _running(_config(options).state, options.url)
    try:
        told = explanation(
            msgspec.structs.replace(endpoint, region=options.region or endpoint.region),
            key,
            options.model_id,
            clock=utc_now,
        )
    except ProbeFailedError as error:
        _fail(f"{error} ({error.mend})")
    print(msgspec.json.encode(told).decode() if options.json else "\n".join(lines(told)))
    return 0


def _check_config(options: argparse.Namespace) -> int:
    from outcrop.fleet.config import InvalidFleetConfigError
    from outcrop.fleet.fleet_keeper import check_servers
    from outcrop.server.configured_units import configured_units
    from outcrop.store.catalogue import Catalogue

    config = load_config(options.config, {})
    try:
        check_servers(config.model_servers, Catalogue(custom_models=config.custom_models))
        configured_units(config)
    except InvalidFleetConfigError as error:
        _fail(f"{options.config}: {error}")
    print(f"{options.config} can be used")
    return 0


def _list_models(options: argparse.Namespace) -> int:
    import asyncio

    from outcrop.fleet.config import InvalidFleetConfigError
    from outcrop.server.models import as_json, as_text, models_of
    from outcrop.store.errors import StoreError

    config = _config(options)
    try:
        models = asyncio.run(models_of(config))
    except (InvalidFleetConfigError, StoreError) as error:
        _fail(str(error))
    print(as_json(models) if options.json else as_text(models))
    return 0


def _calibrate(options: argparse.Namespace) -> int:
    import asyncio

    from outcrop.fleet.config import InvalidFleetConfigError
    from outcrop.server.calibrate import Wanted, calibrate
    from outcrop.server.load import NothingMeasuredError, Shape

    wanted = Wanted(
        model_id=options.model,
        server=options.server,
        seconds=options.seconds,
        shape=Shape(
            input_tokens=int(options.input_tokens), output_tokens=int(options.output_tokens)
        ),
        out=options.out,
    )
    tell = partial(print, flush=True)
    try:
        asyncio.run(calibrate(_config(options), wanted, clock=utc_now, tell=tell))
    except (InvalidFleetConfigError, NothingMeasuredError, OSError) as error:
        _fail(str(error))
    except KeyboardInterrupt:
        _fail("stopped; nothing was written for the server that was being measured")
    return 0


def _pull_models(options: argparse.Namespace) -> int:
    import asyncio

    from outcrop.fleet.weights import ALL, WeightsUnavailableError, pull

    cache = _config(options).cache
    try:
        for weights in ALL:
            asyncio.run(pull(weights, cache, print))
            print(f"{weights.name} is there")
    except (WeightsUnavailableError, OSError) as error:
        _fail(str(error))
    return 0


def _usage(options: argparse.Namespace) -> int:
    import asyncio

    from outcrop.server.usage_report import Question, UsageReport, moment
    from outcrop.store.errors import StoreError

    now, by = utc_now(), tuple(options.by or ["model"])
    report = UsageReport(_config(options), clock=utc_now)
    try:
        since, until = moment(options.since, now), moment(options.until or "0m", now)
        question = Question(by=by, since=since, until=until)
        print(asyncio.run(report.text(question, options.form)))
    except (ValueError, StoreError) as error:
        _fail(str(error))
    return 0


def _tls(options: argparse.Namespace) -> int:
    from outcrop.server.tls_command import instructions, renew

    config = _config(options)
    _make_state(config)
    renew(config, options.names, utc_now)
    for line in instructions(config, _state_flag(config), utc_now):
        print(line)
    return 0


def _fail(message: str) -> NoReturn:
    print(f"outcrop: {message}", file=sys.stderr)
    sys.exit(1)
