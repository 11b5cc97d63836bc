"""The command `outcrop`: what each of its commands does. What may be said to them: `arguments.py`.

Each command imports what it needs when it runs: `--help` and `env` answer at once, and the parent
process of a server stays small.
"""

import argparse
import re
import shlex
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NoReturn, TypeAlias

from outcrop.server.arguments import parser
from outcrop.server.clock import utc_now
from outcrop.server.config import Config, ConfigurationError, default_state, load_config
from outcrop.server.endpoint import (
    Endpoint,
    await_endpoint,
    new_endpoint,
    read_endpoint,
    write_endpoint,
)
from outcrop.server.identity_arguments import NOUNS
from outcrop.server.tls import ListenerTls

Assemble: TypeAlias = Callable[[Config, ListenerTls], AbstractAsyncContextManager[Any]]

OVERRIDES = ("listen", "state", "workers", "allow_remote", "log_level", "tls")


def main(arguments: Sequence[str] | None = None, *, assemble: Assemble | None = None) -> int:
    """`assemble` opens what answers, if not the product: the server's own tests bring theirs."""
    options = parser().parse_args(arguments, argparse.Namespace(assemble=assemble))
    try:
        return COMMANDS[options.command](options)
    except ConfigurationError as error:
        _fail(str(error))
    except BrokenPipeError:
        return 1


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

    reread = partial(_config, options)
    assemble = options.assemble or partial(_assembled, reread=reread)
    keep_books = None if options.assemble else partial(_keep_books, reread=reread)
    with new_endpoint(config.state):
        return serve(
            config, reread=reread, assemble=assemble, keep_books=keep_books, announce=announce
        )


def _make_state(config: Config) -> None:
    from outcrop.iam.access_keys import make_state_dir

    try:
        make_state_dir(config.state)
    except FileExistsError as error:
        raise ConfigurationError(f"state = {config.state}: a file stands there") from error
    except OSError as error:
        raise ConfigurationError(f"state = {config.state}: {error.strerror}") from error


def _assembled(
    config: Config, tls: ListenerTls, reread: Callable[[], Config]
) -> AbstractAsyncContextManager[Any]:
    from outcrop.server.wiring import assembled

    return assembled(config, clock=utc_now, reread=reread, tls=tls, keeps_books=False)


def _keep_books(config: Config, ready: Connection, reread: Callable[[], Config]) -> None:
    from outcrop.server.bookkeeper import run_bookkeeper

    run_bookkeeper(config, ready, reread)


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


def _models(options: argparse.Namespace) -> int:
    return _pull_models(options) if options.action == "pull" else _list_models(options)


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
        shape=Shape(input_tokens=options.input_tokens, output_tokens=options.output_tokens),
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


def _identity(options: argparse.Namespace) -> int:
    from outcrop.server.identity_cli import run

    lines, code = run(_config(options), options)
    for line in lines:
        print(line)
    return code


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


COMMANDS: Mapping[str, Callable[[argparse.Namespace], int]] = {
    "serve": _serve,
    "env": _env,
    "doctor": _doctor,
    "explain": _explain,
    "check-config": _check_config,
    "models": _models,
    "calibrate": _calibrate,
    "usage": _usage,
    "tls": _tls,
    **dict.fromkeys(NOUNS, _identity),
}
