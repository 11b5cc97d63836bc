"""Whether a model server can be reached, believes us, and has the models it is named for."""

import asyncio
from collections.abc import Iterator, Mapping, Sequence

from msgspec.structs import replace

from outcrop.fleet.config import InvalidFleetConfigError, ModelServerConfig, TimeoutsConfig
from outcrop.fleet.failures import FailureKind, ServerFailureError
from outcrop.fleet.http_client import Address
from outcrop.fleet.listing import ListedModel, NoListingError, listed_models
from outcrop.fleet.member import MODELS_PATH, Setup, model_server, set_up
from outcrop.server.finding import Finding
from outcrop.server.probe import port_is_free

# Long enough for any server that lives, and nobody waits long for a doctor.
_PATIENCE_S = 3.0
_TIMEOUTS = TimeoutsConfig(connect_s=_PATIENCE_S, first_byte_s=_PATIENCE_S, total_s=_PATIENCE_S)


def examine_model_server(
    config: ModelServerConfig, environ: Mapping[str, str]
) -> Iterator[Finding]:
    who = f"model server {config.name} at {config.url}"
    try:
        address = Address.parse(config.url)
        setup = set_up(config, environ)
    except ValueError as error:
        yield Finding(f"model server {config.name}: {error}", "correct its url")
        return
    except InvalidFleetConfigError as error:
        yield Finding(str(error), "set it where `outcrop serve` starts")
        return
    if config.dialect == "bedrock":
        free = port_is_free(address.host, address.port, _PATIENCE_S)
        yield _silent(who, "") if free else Finding(f"{who} answers")
        return
    yield from _asked_for_models(who, setup)


def _asked_for_models(who: str, setup: Setup) -> Iterator[Finding]:
    try:
        listed = listed_models(asyncio.run(_models(setup)))
    except ServerFailureError as failure:
        yield _failed(who, failure, discover=setup.config.discover)
    except NoListingError as error:
        yield Finding(f"{who}: {error}", "correct its url: the API usually is below /v1")
    else:
        yield Finding(f"{who} answers; its models: {_worded(listed)}")
        yield from _missing(setup.config, listed)


async def _models(setup: Setup) -> bytes:
    config = replace(setup.config, timeouts=_TIMEOUTS)
    server = model_server(replace(setup, config=config))
    try:
        return await server.get(MODELS_PATH)
    finally:
        await server.aclose()


def _failed(who: str, failure: ServerFailureError, *, discover: bool) -> Finding:
    if "CERTIFICATE_VERIFY_FAILED" in failure.detail:
        return Finding(
            f"{who}: its certificate is not believed: {failure.detail}",
            "set tls.ca_file to the certificate of the authority that signed it",
        )
    if failure.kind is FailureKind.REFUSED:
        return _silent(who, failure.detail)
    if failure.status in {401, 403}:
        return Finding(
            f"{who} refuses the key it is given ({failure.status})",
            "correct api_key_env, api_key_file or header_env",
        )
    if failure.status in {404, 405, 501} and not discover:
        return Finding(f"{who} answers, and does not list its models")
    return Finding(
        f"{who} does not tell its models: {failure}",
        "correct its url, or see its log; without a list, name its models and leave out discover",
    )


def _silent(who: str, why: str) -> Finding:
    return Finding(f"{who} does not answer", f"start it, or correct its url ({why or 'no answer'})")


def _worded(listed: Sequence[ListedModel]) -> str:
    return ", ".join(map(_model, listed)) or "none"


def _model(model: ListedModel) -> str:
    limit = model.context_tokens
    return model.name if limit is None else f"{model.name} ({limit} tokens)"


def _missing(config: ModelServerConfig, listed: Sequence[ListedModel]) -> Iterator[Finding]:
    names = {model.name for model in listed}
    for model_id, name in config.models.items():
        # Ollama lists "llama3:latest" and answers for "llama3" too.
        if names.isdisjoint({name, f"{name}:latest"}):
            yield Finding(
                f"model server {config.name} does not list {name}, named for {model_id}",
                "load that model there, or correct its name in `models`",
            )
