"""What may be said to `outcrop accounts`, `users`, `groups`, `roles`, `policies` and so on.

What they do is in `identity_cli.py`. `policy check` is one of them.
"""

import argparse
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

Parser: TypeAlias = argparse.ArgumentParser


class Noun(NamedTuple):
    help: str
    verbs: Mapping[str, tuple[str, Callable[[Parser], None]]]
    """What each does, and its options."""


def add_identity(commands: Any) -> Iterator[Parser]:
    """Each parser of `options.command` and `options.verb`, for what all commands have."""
    for name, noun in NOUNS.items():
        below = commands.add_parser(name, help=noun.help).add_subparsers(
            title="commands", required=True, dest="verb", metavar="COMMAND"
        )
        for verb, (text, add_options) in noun.verbs.items():
            one: Parser = below.add_parser(
                verb, help=text, description=f"{text[0].upper()}{text[1:]}."
            )
            add_options(one)
            yield one


def _none(_: Parser) -> None:
    pass


def _in_account(parser: Parser) -> None:
    parser.add_argument("--account", metavar="ID", help="default: the installation's first")


def _named(parser: Parser) -> None:
    _in_account(parser)
    parser.add_argument("name", metavar="NAME")


def _key(parser: Parser) -> None:
    parser.add_argument("name", metavar="KEY", help="its id")


def _account_options(parser: Parser) -> None:
    parser.add_argument("name", metavar="NAME")
    parser.add_argument("--account", metavar="ID", help="twelve digits; default: new ones")
    parser.add_argument(
        "--service-control-policy",
        action="append",
        default=[],
        type=_document,
        metavar="FILE",
        help="all of them are one level: one has to allow; can be repeated",
    )


def _group_options(parser: Parser) -> None:
    _named(parser)
    parser.add_argument("--path", default="/", help="in its ARN before its name: /team/")
    parser.add_argument(
        "--policy",
        action="append",
        default=[],
        metavar="NAME",
        help="a managed policy, or the ARN of one of AWS's; can be repeated",
    )
    parser.add_argument(
        "--inline",
        action="append",
        default=[],
        type=_document,
        metavar="FILE",
        help="an inline policy, called what its file is; can be repeated",
    )


def _user_options(parser: Parser) -> None:
    _identity_options(parser)
    parser.add_argument(
        "--group", action="append", default=[], metavar="NAME", help="can be repeated"
    )


def _identity_options(parser: Parser) -> None:
    _group_options(parser)
    parser.add_argument("--boundary", metavar="NAME", help="a managed policy")
    parser.add_argument(
        "--tag", action="append", default=[], type=_tag, metavar="KEY=VALUE", help="can be repeated"
    )


def _role_options(parser: Parser) -> None:
    _identity_options(parser)
    parser.add_argument(
        "--trust", type=_text, required=True, metavar="FILE", help="who may assume it: a policy"
    )
    parser.add_argument(
        "--max-session-s",
        type=int,
        default=3_600,
        metavar="S",
        help="how long a session lasts at most; default: 3600",
    )


def _policy_options(parser: Parser) -> None:
    _named(parser)
    parser.add_argument("document", type=_text, metavar="FILE", help="the policy document")


def _issuer(parser: Parser) -> None:
    _in_account(parser)
    parser.add_argument("name", metavar="URL")


def _issuer_options(parser: Parser) -> None:
    _issuer(parser)
    parser.add_argument(
        "--client-id",
        action="append",
        default=[],
        metavar="AUDIENCE",
        help="whom its tokens may be for; can be repeated",
    )
    parser.add_argument("--certificate-authority", type=_text, metavar="FILE", help="PEM")


def _key_options(parser: Parser) -> None:
    _in_account(parser)
    parser.add_argument("--user", metavar="NAME", help="default: the account's root user")
    parser.add_argument(
        "--bearer", action="store_true", help="a long-term Bedrock API key of a --user"
    )
    parser.add_argument("--region", help="of an API key; default: the server's")
    parser.add_argument(
        "--expires-days", type=int, metavar="N", help="of an API key; default: never"
    )


def _question_options(parser: Parser) -> None:
    _in_account(parser)
    parser.add_argument("--principal", required=True, metavar="ARN", help="or a user's name")
    parser.add_argument("--model", required=True, metavar="ID", help="as callers write it")
    parser.add_argument("--region", help="the caller's; default: the server's")
    parser.add_argument(
        "--operation",
        default="Converse",
        metavar="NAME",
        help="what is to be called; default: Converse",
    )
    parser.add_argument("--service-tier", metavar="TIER")
    parser.add_argument("--source-ip", metavar="ADDRESS")
    parser.add_argument("--json", action="store_true", help="for programs")


def _document(path: str) -> tuple[str, str]:
    """A policy is called what its file is."""
    return Path(path).stem, _text(path)


def _text(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8")
    except OSError as error:
        raise argparse.ArgumentTypeError(f"{path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise argparse.ArgumentTypeError(f"{path} is not UTF-8") from error


def _tag(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not key or not equals:
        raise argparse.ArgumentTypeError(f"{text!r} is not KEY=VALUE")
    return key, value


NOUNS: Mapping[str, Noun] = {
    "accounts": Noun(
        "who pays, and what is allowed there at most",
        {
            "put": ("make an account, or replace it", _account_options),
            "list": ("list all accounts", _none),
        },
    ),
    "users": Noun(
        "who calls with a key of their own",
        {
            "put": ("make a user, or replace it", _user_options),
            "delete": ("delete a user, and its keys", _named),
            "list": ("list users and their managed policies", _in_account),
        },
    ),
    "groups": Noun(
        "users who have policies in common",
        {
            "put": ("make a group, or replace it", _group_options),
            "delete": ("delete a group that nobody is in", _named),
            "list": ("list groups and their managed policies", _in_account),
        },
    ),
    "roles": Noun(
        "who is assumed, for a session",
        {
            "put": ("make a role, or replace it", _role_options),
            "delete": ("delete a role; its sessions end at once", _named),
            "list": ("list roles and their managed policies", _in_account),
        },
    ),
    "policies": Noun(
        "managed policies",
        {
            "put": ("make a managed policy, or replace it", _policy_options),
            "delete": ("delete a managed policy that nobody has", _named),
            "list": ("list managed policies", _in_account),
        },
    ),
    "issuers": Noun(
        "OpenID Connect issuers, whose tokens can assume roles",
        {
            "put": ("trust an issuer, or replace it", _issuer_options),
            "delete": ("trust an issuer no longer", _issuer),
            "list": ("list issuers", _in_account),
        },
    ),
    "keys": Noun(
        "access keys and Bedrock API keys",
        {
            "create": ("make a key; its secret is shown once", _key_options),
            "disable": ("refuse a key until it is enabled", _key),
            "enable": ("take a key again", _key),
            "delete": ("delete a key", _key),
            "list": ("list all keys as JSON, without their secrets", _none),
            "reseal": ("seal all keys with the newest sealing key", _none),
        },
    ),
    "policy": Noun(
        "what policies decide",
        {"check": ("say whether a call would be allowed, and why", _question_options)},
    ),
}
