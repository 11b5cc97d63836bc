"""What may be said to `outcrop`: its commands and their options. What they do is in `cli.py`."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from outcrop.server.config import default_state
from outcrop.server.identity_arguments import add_identity


def parser() -> argparse.ArgumentParser:
    """Of `options.command`, and what that command wants to know."""
    outcrop = argparse.ArgumentParser(
        prog="outcrop", description="Amazon Bedrock's API on models you run."
    )
    outcrop.add_argument("--version", action=_Version)
    commands = outcrop.add_subparsers(
        title="commands", required=True, dest="command", metavar="COMMAND"
    )
    _add_serve(commands)
    _add_env(commands)
    _add_doctor(commands)
    _add_explain(commands)
    _add_check_config(commands)
    _add_models(commands)
    _add_calibrate(commands)
    _add_usage(commands)
    for noun in add_identity(commands):
        _add_state(noun)
        _add_config(noun)
    _add_tls(commands)
    return outcrop


class _Version(argparse.Action):
    def __init__(self, option_strings: Sequence[str], dest: str) -> None:
        super().__init__(option_strings, dest, nargs=0, help="print the version")

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> NoReturn:
        from outcrop.server.build import version_text  # noqa: PLC0415 - only who asks waits for it

        print(f"outcrop {version_text()}")  # noqa: T201 - the answer
        parser.exit()


def _add_serve(commands: Any) -> None:
    serve = _command(commands, "serve", "run the server until it is told to stop")
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


def _add_env(commands: Any) -> None:
    env = _command(
        commands, "env", 'print exports that point AWS tools at the server: eval "$(outcrop env)"'
    )
    _add_state(env)
    _add_url(env)


def _add_doctor(commands: Any) -> None:
    doctor = _command(commands, "doctor", "say what is wrong and how to mend it")
    _add_state(doctor)
    _add_config(doctor)
    _add_url(doctor)


def _add_explain(commands: Any) -> None:
    explain = _command(
        commands, "explain", "say what the running server would do with a model id now, and why"
    )
    explain.add_argument("model_id", metavar="MODEL_ID", help="an id or ARN, as callers write it")
    explain.add_argument("--region", help="the caller's; default: the server's")
    _add_state(explain)
    _add_config(explain)
    _add_url(explain)
    _add_json(explain)


def _add_check_config(commands: Any) -> None:
    check = _command(commands, "check-config", "say whether a configuration can be used")
    check.add_argument("config", type=Path, metavar="FILE", help="a TOML file")


def _add_models(commands: Any) -> None:
    models = _command(
        commands, "models", "list the models that are served, their units and what is sold of them"
    )
    _add_state(models)
    _add_config(models)
    _add_json(models)
    actions = models.add_subparsers(title="commands", dest="action", metavar="COMMAND")
    pull = _command(actions, "pull", "fetch the embedded models' weights ahead of time")
    # Without a default of its own, which would take the place of what stands before `pull`.
    _add_config(pull, default=argparse.SUPPRESS)


def _add_calibrate(commands: Any) -> None:
    calibrate = _command(
        commands, "calibrate", "measure how many model units of a model its servers sustain"
    )
    calibrate.add_argument("model", metavar="MODEL", help="a model id, or a custom model's name")
    _add_state(calibrate)
    _add_config(calibrate)
    calibrate.add_argument("--server", metavar="NAME", help="default: all that serve the model")
    calibrate.add_argument(
        "--seconds", type=_seconds, default=20.0, metavar="S", help="of each step; default: 20"
    )
    for side, tokens in {"input": 512, "output": 128}.items():
        calibrate.add_argument(
            f"--{side}-tokens",
            type=_tokens,
            default=tokens,
            metavar="N",
            help=f"of each request; default: {tokens}",
        )
    calibrate.add_argument(
        "--out", type=Path, metavar="FILE", help="default: units.toml in the state folder"
    )


def _seconds(text: str) -> float:
    return _between(float(text), 1_000_000)


def _tokens(text: str) -> int:
    return int(_between(int(text), 1_000_000))


def _between(number: float, most: float) -> float:
    if not 0 < number < most:
        raise argparse.ArgumentTypeError(f"{number} is not between 0 and {most:,}")
    return number


def _add_usage(commands: Any) -> None:
    usage = _command(commands, "usage", "say what was used, by whom, and what it cost")
    _add_state(usage)
    _add_config(usage)
    usage.add_argument(
        "--by",
        action="append",
        metavar="WHAT",
        help="account, model, principal, profile, provisioned, region, usage-type, tag:KEY, and"
        " hour, day or month; can be repeated; default: model",
    )
    usage.add_argument(
        "--since", default="30d", metavar="WHEN", help="90m, 24h, 7d, 2026-11-01; default: 30d"
    )
    usage.add_argument("--until", metavar="WHEN", help="as --since; default: now")
    forms = usage.add_mutually_exclusive_group()
    for form, text in {
        "json": "as JSON",
        "csv": "as CSV in the columns of FOCUS",
        "plot": "as bars",
        "budgets": "how far each budget is spent",
        "unused": "provisioned models and profiles that nobody called",
    }.items():
        forms.add_argument(f"--{form}", dest="form", action="store_const", const=form, help=text)


def _add_tls(commands: Any) -> None:
    tls = _command(
        commands, "tls", "make or renew a certificate by a local authority, and say how to use it"
    )
    _add_state(tls)
    _add_config(tls)
    tls.add_argument(
        "--name",
        action="append",
        default=[],
        dest="names",
        metavar="HOST",
        help="a further DNS name or IP address to be reached at; can be repeated",
    )
    tls.set_defaults(tls={"enabled": True, "certificate_file": None, "key_file": None})


def _command(commands: Any, name: str, text: str) -> argparse.ArgumentParser:
    """`text` is said of it in the list of all commands, and by its own --help."""
    command: argparse.ArgumentParser = commands.add_parser(
        name, help=text, description=f"{text[0].upper()}{text[1:]}."
    )
    return command


def _add_state(command: argparse.ArgumentParser) -> None:
    command.add_argument("--state", type=Path, metavar="DIR", help=f"default: {default_state()}")


def _add_config(command: argparse.ArgumentParser, default: Any = None) -> None:
    command.add_argument(
        "--config", type=Path, metavar="FILE", default=default, help="a TOML file; default: none"
    )


def _add_url(command: argparse.ArgumentParser) -> None:
    command.add_argument("--url", help="default: where the server last served")


def _add_json(command: argparse.ArgumentParser) -> None:
    command.add_argument("--json", action="store_true", help="for programs")
