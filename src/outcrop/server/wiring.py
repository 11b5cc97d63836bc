"""Which handler answers which operation: the product on one page."""

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import asynccontextmanager, contextmanager

from msgspec import Struct

from outcrop.control.foundation_models import FoundationModels
from outcrop.control.inference_profiles import InferenceProfiles
from outcrop.control.logging_configuration import LoggingConfiguration
from outcrop.control.provisionable import ProvisionableModels
from outcrop.control.provisioned_throughput import ProvisionedThroughput
from outcrop.control.room import FleetRoom
from outcrop.control.tags import Tags
from outcrop.control.touched import Touched as ControlTouched
from outcrop.fleet.units import Units
from outcrop.iam.access import everything
from outcrop.iam.authenticator import Identified
from outcrop.iam.resource_policies import ResourcePolicies
from outcrop.metering.costs import Costs
from outcrop.metering.prices import PriceList
from outcrop.metering.quotas import Quotas
from outcrop.metering.recording import Recording
from outcrop.metering.tags import TagMemory
from outcrop.reporting.cost_explorer import CostExplorer
from outcrop.reporting.measurements import Measurements
from outcrop.reporting.metric_data import MetricData
from outcrop.reporting.metrics import Metrics
from outcrop.runtime.admission import Admission
from outcrop.runtime.converse import Converse
from outcrop.runtime.count_tokens import CountTokens
from outcrop.runtime.document_reader import DocumentReader
from outcrop.runtime.embeddings import Embeddings
from outcrop.runtime.explanation import EXPLAIN, Explain
from outcrop.runtime.inference import Inference
from outcrop.runtime.invoke_model import InvokeModel
from outcrop.runtime.target import Targets
from outcrop.runtime.touched import Touched as RuntimeTouched
from outcrop.server.app import App
from outcrop.server.config import Config
from outcrop.server.configured_units import configured_units
from outcrop.server.identity_wiring import (
    Identity,
    note_uses,
    open_identity,
    wire_policies,
    wire_sts,
)
from outcrop.server.logs import request_log
from outcrop.server.parts import Parts, open_parts
from outcrop.server.reload import Reloader
from outcrop.server.throttle import AuthenticationThrottle
from outcrop.server.tls import ListenerTls
from outcrop.store import usage_sums
from outcrop.store.catalogue import Catalogue
from outcrop.store.errors import StoreError
from outcrop.store.store import Store
from outcrop.wire.shapes import bedrock, bedrock_runtime, ce, cloudwatch
from outcrop.wire.timestamps import Clock

# How soon a server sees what another one on the same store made due.
WATCH_EVERY_S = 0.5

_log = logging.getLogger(__name__)


@asynccontextmanager
async def assembled(
    config: Config,
    *,
    clock: Clock,
    reread: Callable[[], Config] | None = None,
    tls: ListenerTls | None = None,
    keeps_books: bool = True,
) -> AsyncGenerator[App]:
    """The whole product, from configuration to an App that answers.

    With `reread`, the process's SIGHUP has the configuration read and followed again, by `tls` too.
    Without `keeps_books`, a bookkeeper reads what is recorded (bookkeeper.py).
    """
    async with open_parts(config, clock=clock, keeps_books=keeps_books) as parts:
        identity = await open_identity(parts.store, config, clock=clock)
        throttle = AuthenticationThrottle(
            identity.authenticator.authenticate, limits=config.limits, clock=clock
        )
        with _opened_app(config, parts, identity, throttle) as app:
            wire_sts(app, identity, throttle, region=config.region, clock=clock)
            wire_policies(app, identity, parts.store)
            wire_logging(app, parts)
            product = Product(app, parts, identity)
            await product.wire(config)
            follow = tls or ListenerTls(config, clock)
            reloader = Reloader(config, reread, product.reload, tls=follow, tasks=parts.tasks)
            reloader.listen()
            noting = parts.tasks.create_task(
                note_uses(identity.authenticator, parts.store.access_keys)
            )
            try:
                yield app
            finally:
                noting.cancel()
                reloader.close()
                product.close()


@contextmanager
def _opened_app(
    config: Config,
    parts: Parts,
    identity: Identity,
    throttle: AuthenticationThrottle[Identified],
) -> Generator[App]:
    """Answers nothing yet. What it wrote down is on disk when the block ends."""
    clock = parts.clock
    log = request_log(config.log_level)
    log_to, observing = parts.invocation_logging.log, parts.observing
    try:
        yield App(
            throttle,
            recording=Recording(parts.metering.ledger, log_to, observing.observers, clock=clock),
            request_log=log,
            clock=clock,
            meter=observing.meter,
            audit=parts.audit,
            policies=identity.policies,
            is_secure=config.tls.serves,
        )
    finally:
        log.flush()


class Configured(Struct, frozen=True, kw_only=True):
    """What one configuration makes of the parts; the next one makes another."""

    config: Config
    catalogue: Catalogue
    model_units: Units
    room: FleetRoom
    page_token_key: bytes


class Product:
    """What answers, wired from one configuration and again from the next.

    A request that has begun keeps the handlers it began with.
    """

    def __init__(self, app: App, parts: Parts, identity: Identity) -> None:
        self._app = app
        self._parts = parts
        self._policies = identity.policies
        self._declaring = identity.declaring
        self._watching: asyncio.Task[None] | None = None

    async def wire(self, config: Config) -> None:
        """Raises ConfigurationError or InvalidFleetConfigError."""
        model_units = configured_units(config)
        await self._follow(config, model_units, await self._page_token_key())

    async def reload(self, config: Config) -> None:
        """Raises the like of `wire` or StoreError, and then nothing has changed."""
        parts = self._parts
        model_units = configured_units(config)
        # Before anything changes: the store may be out of reach.
        page_token_key = await self._page_token_key()
        declaration = self._declaring.read(config.accounts)
        await self._declaring.check(declaration)
        prices = PriceList(config.prices)
        follow_prices = await parts.metering.prepared(config.metering, prices, config.budgets)
        await parts.keeper.reload(
            config.model_servers,
            custom_models=config.custom_models,
            stand_in=config.embedded.stand_in,
            routing=config.routing,
        )
        await self._declaring.follow(declaration)
        follow_prices()
        await self._follow(config, model_units, page_token_key)

    def close(self) -> None:
        if self._watching is not None:
            self._watching.cancel()

    async def _page_token_key(self) -> bytes:
        return await self._parts.store.secrets.get("page_token_key")

    async def _follow(self, config: Config, model_units: Units, page_token_key: bytes) -> None:
        app, parts, fleet = self._app, self._parts, self._parts.keeper.fleet
        catalogue = Catalogue(serves=fleet.serves, custom_models=config.custom_models)
        now = Configured(
            config=config,
            catalogue=catalogue,
            model_units=model_units,
            room=FleetRoom(model_units, custom_models=config.custom_models),
            page_token_key=page_token_key,
        )
        units = wire_control(app, parts, self._policies, now)
        wire_runtime(app, parts, self._policies, now)
        wire_reporting(app, parts, now)
        fleet.watch(catalogue.refresh)
        self.close()
        self._watching = parts.tasks.create_task(watch(units))
        await tell_of_oversold(parts.store, now.room)


def wire_control(
    app: App, parts: Parts, policies: ResourcePolicies, now: Configured
) -> ProvisionedThroughput:
    store, catalogue = parts.store, now.catalogue
    units = _provisioned_throughput(parts, now)
    throughputs, tags_of = store.provisioned_model_throughputs, store.tags.current
    touched = ControlTouched(catalogue, throughputs, tags_of, policies)
    serve_profiles(app, _inference_profiles(parts, now), touched)
    serve_units(app, units, touched)
    serve_models(app, FoundationModels(catalogue, serves=parts.keeper.fleet.serves), touched)
    serve_tags(app, Tags(store.tags), touched)
    return units


def _inference_profiles(parts: Parts, now: Configured) -> InferenceProfiles:
    terms = now.config.inference_profiles
    return InferenceProfiles(
        parts.store.inference_profiles,
        now.catalogue,
        quota=terms.quota,
        list_without_type=terms.list_without_type,
        page_token_key=now.page_token_key,
        clock=parts.clock,
    )


def _provisioned_throughput(parts: Parts, now: Configured) -> ProvisionedThroughput:
    terms = now.config.provisioned_throughput
    return ProvisionedThroughput(
        parts.store.provisioned_model_throughputs,
        ProvisionableModels(
            now.catalogue,
            serves=parts.keeper.fleet.serves,
            units=now.model_units,
            require_declared_units=terms.require_declared_units,
        ),
        room=now.room,
        terms=terms,
        page_token_key=now.page_token_key,
        clock=parts.clock,
    )


def serve_profiles(app: App, profiles: InferenceProfiles, touched: ControlTouched) -> None:
    app.serve(
        bedrock.LIST_INFERENCE_PROFILES,
        profiles.list_inference_profiles,
        resources=touched.profiles,
    )
    app.serve(
        bedrock.GET_INFERENCE_PROFILE, profiles.get_inference_profile, resources=touched.profile
    )
    app.serve(
        bedrock.CREATE_INFERENCE_PROFILE,
        profiles.create_inference_profile,
        resources=touched.new_profile,
    )
    app.serve(
        bedrock.DELETE_INFERENCE_PROFILE,
        profiles.delete_inference_profile,
        resources=touched.profile,
    )


def serve_units(app: App, units: ProvisionedThroughput, touched: ControlTouched) -> None:
    app.serve(
        bedrock.LIST_PROVISIONED_MODEL_THROUGHPUTS,
        units.list_provisioned_model_throughputs,
        resources=touched.provisioned_models,
    )
    app.serve(
        bedrock.GET_PROVISIONED_MODEL_THROUGHPUT,
        units.get_provisioned_model_throughput,
        resources=touched.provisioned_model,
    )
    app.serve(
        bedrock.CREATE_PROVISIONED_MODEL_THROUGHPUT,
        units.create_provisioned_model_throughput,
        resources=touched.new_provisioned_model,
    )
    app.serve(
        bedrock.UPDATE_PROVISIONED_MODEL_THROUGHPUT,
        units.update_provisioned_model_throughput,
        resources=touched.updated_provisioned_model,
    )
    app.serve(
        bedrock.DELETE_PROVISIONED_MODEL_THROUGHPUT,
        units.delete_provisioned_model_throughput,
        resources=touched.provisioned_model,
    )


def serve_models(app: App, models: FoundationModels, touched: ControlTouched) -> None:
    app.serve(bedrock.LIST_FOUNDATION_MODELS, models.list_foundation_models, resources=everything)
    app.serve(bedrock.GET_FOUNDATION_MODEL, models.get_foundation_model, resources=touched.model)
    app.serve(
        bedrock.GET_FOUNDATION_MODEL_AVAILABILITY,
        models.get_foundation_model_availability,
        resources=everything,
    )


def serve_tags(app: App, tags: Tags, touched: ControlTouched) -> None:
    app.serve(bedrock.TAG_RESOURCE, tags.tag_resource, resources=touched.tagged)
    app.serve(bedrock.UNTAG_RESOURCE, tags.untag_resource, resources=touched.untagged)
    app.serve(
        bedrock.LIST_TAGS_FOR_RESOURCE, tags.list_tags_for_resource, resources=touched.with_tags
    )


def wire_logging(app: App, parts: Parts) -> None:
    """As it was at the start: it does not follow the configuration."""
    to = parts.invocation_logging
    configuration = LoggingConfiguration(parts.store.logging_configurations, to.log, to.to)
    app.serve(
        bedrock.PUT_MODEL_INVOCATION_LOGGING_CONFIGURATION,
        configuration.put_model_invocation_logging_configuration,
        resources=everything,
    )
    app.serve(
        bedrock.GET_MODEL_INVOCATION_LOGGING_CONFIGURATION,
        configuration.get_model_invocation_logging_configuration,
        resources=everything,
    )
    app.serve(
        bedrock.DELETE_MODEL_INVOCATION_LOGGING_CONFIGURATION,
        configuration.delete_model_invocation_logging_configuration,
        resources=everything,
    )


def wire_runtime(app: App, parts: Parts, policies: ResourcePolicies, now: Configured) -> None:
    store, router = parts.store, parts.keeper.router
    profiles, throughputs = store.inference_profiles, store.provisioned_model_throughputs
    targets = Targets(now.catalogue, parts.keeper.fleet, profiles, throughputs)
    admission = Admission(
        parts.counters,
        Quotas(now.config.quotas),
        now.model_units,
        now.config.admission,
        budgets=parts.metering.budgets if parts.metering.enabled else None,
    )
    tags = TagMemory(store.tags.current)
    documents = DocumentReader()
    inference = Inference(
        targets, admission, router, clock=parts.clock, tags=tags, documents=documents
    )
    invoke = InvokeModel(inference, Embeddings(admission, router), clock=parts.clock)
    touched = RuntimeTouched(inference, targets, policies)
    serve_converse(app, Converse(inference), touched)
    serve_invoke(app, invoke, touched)
    app.serve(
        bedrock_runtime.COUNT_TOKENS,
        CountTokens(targets, router, documents).count_tokens,
        resources=touched.counted,
    )
    app.serve_root(EXPLAIN, Explain(targets).explain)


def serve_converse(app: App, converse: Converse, touched: RuntimeTouched) -> None:
    app.serve_model(bedrock_runtime.CONVERSE, converse.converse, resources=touched.conversation)
    app.serve_stream(
        bedrock_runtime.CONVERSE_STREAM, converse.converse_stream, resources=touched.conversation
    )


def serve_invoke(app: App, invoke: InvokeModel, touched: RuntimeTouched) -> None:
    app.serve_model(bedrock_runtime.INVOKE_MODEL, invoke.invoke_model, resources=touched.invocation)
    app.serve_stream(
        bedrock_runtime.INVOKE_MODEL_WITH_RESPONSE_STREAM,
        invoke.invoke_model_with_response_stream,
        resources=touched.invocation,
    )


def wire_reporting(app: App, parts: Parts, now: Configured) -> None:
    store, key, clock = parts.store, now.page_token_key, parts.clock
    measurements = Measurements(store.usage, usage_sums)
    metrics = Metrics(measurements, page_token_key=key, clock=clock)
    data = MetricData(measurements, page_token_key=key, clock=clock)
    prices = PriceList(now.config.prices)
    costs = Costs(store.usage, store.provisioned_hours, prices, clock=clock)
    explorer = CostExplorer(costs, page_token_key=key, clock=clock)

    app.serve_rpc(cloudwatch.LIST_METRICS, metrics.list_metrics, resources=everything)
    app.serve_rpc(
        cloudwatch.GET_METRIC_STATISTICS, metrics.get_metric_statistics, resources=everything
    )
    app.serve_rpc(cloudwatch.GET_METRIC_DATA, data.get_metric_data, resources=everything)

    app.serve_rpc(ce.GET_COST_AND_USAGE, explorer.get_cost_and_usage, resources=everything)
    app.serve_rpc(ce.GET_DIMENSION_VALUES, explorer.get_dimension_values, resources=everything)
    app.serve_rpc(ce.GET_TAGS, explorer.get_tags, resources=everything)


async def tell_of_oversold(store: Store, room: FleetRoom) -> None:
    """What was acknowledged stays InService; nothing more is sold until it fits again."""
    try:
        for sentence in room.oversold(await store.capacity.held()):
            _log.warning("provisioned throughput: %s", sentence)
    except StoreError as error:
        _log.warning("what is sold could not be compared with what servers hold: %s", error)


async def watch(units: ProvisionedThroughput) -> None:
    while True:
        await asyncio.sleep(WATCH_EVERY_S)
        try:
            await units.watch()
        except StoreError as error:
            _log.warning("the store could not be watched: %s", error)
        except Exception:  # noqa: BLE001 - the next round may do better; requests go on meanwhile
            _log.exception("provisioned throughput could not be brought up to date")
