"""Which handler answers which operation: the product on one page."""

import asyncio
import logging
import os
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import NamedTuple

from outcrop.control.foundation_models import FoundationModels
from outcrop.control.inference_profiles import InferenceProfiles
from outcrop.control.logging_configuration import LoggingConfiguration
from outcrop.control.provisionable import ProvisionableModels
from outcrop.control.provisioned_throughput import ProvisionedThroughput
from outcrop.control.room import FleetRoom
from outcrop.control.tags import Tags
from outcrop.control.touched import Touched as ControlTouched
from outcrop.counters.limit import Counters
from outcrop.counters.local import LocalCounters
from outcrop.fleet.embedded import EmbeddedSettings
from outcrop.fleet.fleet import Fleet
from outcrop.fleet.fleet_keeper import FleetKeeper, Others, open_fleet
from outcrop.fleet.leases import Leases, Split
from outcrop.fleet.shared_health import SharedHealth
from outcrop.fleet.units import Units
from outcrop.iam.access import everything
from outcrop.iam.config import declare
from outcrop.metering.audit import AuditTrail
from outcrop.metering.costs import Costs
from outcrop.metering.delivery.deliverer import InvocationLogging, open_invocation_log
from outcrop.metering.ledger import Metering, open_ledger
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
from outcrop.server.clock import steady_clock
from outcrop.server.config import Config
from outcrop.server.configured_units import configured_units
from outcrop.server.identity_wiring import note_uses, open_identity, wire_sts
from outcrop.server.logs import request_log
from outcrop.server.observing import open_observing
from outcrop.server.reload import Reloader
from outcrop.server.throttle import AuthenticationThrottle
from outcrop.server.tls import ListenerTls
from outcrop.store import usage_sums
from outcrop.store.catalogue import Catalogue
from outcrop.store.errors import StoreError
from outcrop.store.store import Store, open_store
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
) -> AsyncGenerator[App]:
    """The whole product, from configuration to an App that answers.

    With `reread`, the process's SIGHUP has the configuration read and followed again, by `tls` too.
    """
    location = config.database_url or config.sqlite_path
    prices = PriceList(config.prices)
    embedded = EmbeddedSettings(config=config.embedded, state=config.state, cache=config.cache)
    async with (
        asyncio.TaskGroup() as tasks,
        open_store(location, clock=clock) as store,
        open_counters(config, clock=steady_clock(), tasks=tasks) as counting,
        open_fleet(
            config.model_servers,
            embedded,
            custom_models=config.custom_models,
            routing=config.routing,
            others=counting.others,
            environ=os.environ,
            tasks=tasks,
            clock=clock,
        ) as keeper,
        open_ledger(
            config.state / "journal",
            store.usage,
            config=config.metering,
            prices=prices,
            budgets=config.budgets,
            tasks=tasks,
            clock=clock,
        ) as metering,
        open_observing(config, keeper, counting.counters, tasks=tasks, clock=clock) as observing,
        open_invocation_log(
            config.state / "invocation-log",
            store.logging_configurations,
            config.invocation_logging,
            environ=os.environ,
            tasks=tasks,
            clock=clock,
        ) as logging_to,
    ):
        await declare(store.identities, config.accounts, clock=clock)
        identity = await open_identity(store, config.state, clock=clock)
        log = request_log(config.log_level)
        trail = (
            AuditTrail(config.audit.file, config.audit, clock=clock) if config.audit.file else None
        )
        throttle = AuthenticationThrottle(
            identity.authenticator.authenticate, limits=config.limits, clock=clock
        )
        ledger = metering.ledger if config.metering.enabled else None
        app = App(
            throttle,
            recording=Recording(ledger, logging_to.log, observing.observers, clock=clock),
            request_log=log,
            clock=clock,
            meter=observing.meter,
            audit=trail,
            is_secure=config.tls.serves,
        )
        wire_sts(app, identity, region=config.region, clock=clock)
        wire_logging(app, store, logging_to)
        product = Product(app, store, keeper, counting, metering, tasks=tasks, clock=clock)
        await product.wire(config)
        reloader = Reloader(
            config, reread, product.reload, tls=tls or ListenerTls(config, clock), tasks=tasks
        )
        reloader.listen()
        noting = tasks.create_task(note_uses(identity.authenticator, store.access_keys))
        try:
            yield app
        finally:
            noting.cancel()
            reloader.close()
            product.close()
            log.flush()
            if trail:
                trail.close()


class Counting(NamedTuple):
    counters: Counters
    others: Others


@asynccontextmanager
async def open_counters(
    config: Config, *, clock: Clock, tasks: asyncio.TaskGroup
) -> AsyncGenerator[Counting]:
    """Of this process alone, or in Valkey with all the others. `clock` does not leap.

    Raises InvalidValkeyConfigError.
    """
    if config.valkey.url is None:
        yield Counting(LocalCounters(clock), Others(sharing=Split(config.workers)))
        return
    # Its client takes 7 MB, which a server that counts by itself need not have.
    from outcrop.counters.valkey import open_valkey  # noqa: PLC0415

    async with open_valkey(
        config.valkey, os.environ, workers=config.workers, clock=clock, tasks=tasks
    ) as counters:
        share = config.valkey.when_lost == "local_share"
        leases = Leases(counters, workers=config.workers, share_when_lost=share)
        health = SharedHealth(counters.facts, counters.worker)
        yield Counting(counters, Others(sharing=leases, health=health))


class Product:
    """What answers, wired from one configuration and again from the next.

    A request that has begun keeps the handlers it began with.
    """

    def __init__(  # noqa: PLR0913 - each by its name
        self,
        app: App,
        store: Store,
        keeper: FleetKeeper,
        counting: Counting,
        metering: Metering,
        *,
        tasks: asyncio.TaskGroup,
        clock: Clock,
    ) -> None:
        self._app = app
        self._store = store
        self._keeper = keeper
        self._counting = counting
        self._metering = metering
        self._tasks = tasks
        self._clock = clock
        self._watching: asyncio.Task[None] | None = None

    async def wire(self, config: Config) -> None:
        """Raises ConfigurationError or InvalidFleetConfigError."""
        model_units = configured_units(config)
        await self._follow(config, model_units, await self._page_token_key())

    async def _follow(self, config: Config, model_units: Units, page_token_key: bytes) -> None:
        app, store, fleet, clock = self._app, self._store, self._keeper.fleet, self._clock
        catalogue = Catalogue(serves=fleet.serves, custom_models=config.custom_models)
        room = FleetRoom(model_units, catalogue, custom_models=config.custom_models)
        units = wire_control(
            app,
            store,
            catalogue,
            fleet,
            room,
            model_units,
            config=config,
            page_token_key=page_token_key,
            clock=clock,
        )
        admission = Admission(
            self._counting.counters,
            Quotas(config.quotas),
            model_units,
            config.admission,
            budgets=self._metering.budgets,
        )
        wire_runtime(app, store, catalogue, self._keeper, admission, clock=clock)
        prices = PriceList(config.prices)
        wire_reporting(app, store, prices, page_token_key=page_token_key, clock=clock)
        fleet.watch(catalogue.refresh)
        self.close()
        self._watching = self._tasks.create_task(watch(units))
        await tell_of_oversold(store, room)

    async def reload(self, config: Config) -> None:
        """Raises the like of `wire` or StoreError, and then nothing has changed."""
        model_units = configured_units(config)
        # Before anything changes: the store may be out of reach.
        page_token_key = await self._page_token_key()
        await self._keeper.reload(
            config.model_servers,
            custom_models=config.custom_models,
            stand_in=config.embedded.stand_in,
            routing=config.routing,
        )
        await declare(self._store.identities, config.accounts, clock=self._clock)
        self._metering.follow(config.metering, PriceList(config.prices), config.budgets)
        await self._follow(config, model_units, page_token_key)

    async def _page_token_key(self) -> bytes:
        return await self._store.secrets.get("page_token_key")

    def close(self) -> None:
        if self._watching is not None:
            self._watching.cancel()


def wire_control(  # noqa: PLR0913 - each by its name
    app: App,
    store: Store,
    catalogue: Catalogue,
    fleet: Fleet,
    room: FleetRoom,
    model_units: Units,
    *,
    config: Config,
    page_token_key: bytes,
    clock: Clock,
) -> ProvisionedThroughput:
    profiles = InferenceProfiles(
        store.inference_profiles,
        catalogue,
        quota=config.inference_profiles.quota,
        list_without_type=config.inference_profiles.list_without_type,
        page_token_key=page_token_key,
        clock=clock,
    )
    units = ProvisionedThroughput(
        store.provisioned_model_throughputs,
        ProvisionableModels(
            catalogue,
            serves=fleet.serves,
            units=model_units,
            require_declared_units=config.provisioned_throughput.require_declared_units,
        ),
        room=room,
        terms=config.provisioned_throughput,
        page_token_key=page_token_key,
        clock=clock,
    )
    models = FoundationModels(catalogue, serves=fleet.serves)
    tags = Tags(store.tags)
    touched = ControlTouched(catalogue, store.provisioned_model_throughputs, store.tags.current)

    serve_profiles(app, profiles, touched)
    serve_units(app, units, touched)
    serve_models(app, models, touched)
    serve_tags(app, tags, touched)
    return units


def serve_profiles(app: App, profiles: InferenceProfiles, touched: ControlTouched) -> None:
    app.serve(
        bedrock.LIST_INFERENCE_PROFILES, profiles.list_inference_profiles, resources=everything
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
        resources=everything,
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


def wire_logging(app: App, store: Store, to: InvocationLogging) -> None:
    """As it was at the start: it does not follow the configuration."""
    configuration = LoggingConfiguration(store.logging_configurations, to.log, to.to)
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


def wire_runtime(
    app: App,
    store: Store,
    catalogue: Catalogue,
    keeper: FleetKeeper,
    admission: Admission,
    *,
    clock: Clock,
) -> None:
    targets = Targets(
        catalogue, keeper.fleet, store.inference_profiles, store.provisioned_model_throughputs
    )
    router = keeper.router
    tags = TagMemory(store.tags.current)
    documents = DocumentReader()
    inference = Inference(targets, admission, router, clock=clock, tags=tags, documents=documents)
    converse = Converse(inference)
    touched = RuntimeTouched(inference, targets)
    invoke = InvokeModel(inference, Embeddings(admission, router), clock=clock)

    app.serve_model(bedrock_runtime.CONVERSE, converse.converse, resources=touched.conversation)
    app.serve_stream(
        bedrock_runtime.CONVERSE_STREAM, converse.converse_stream, resources=touched.conversation
    )

    app.serve_root(EXPLAIN, Explain(targets).explain)

    app.serve(
        bedrock_runtime.COUNT_TOKENS,
        CountTokens(targets, router, documents).count_tokens,
        resources=touched.counted,
    )

    app.serve_model(bedrock_runtime.INVOKE_MODEL, invoke.invoke_model, resources=touched.invocation)
    app.serve_stream(
        bedrock_runtime.INVOKE_MODEL_WITH_RESPONSE_STREAM,
        invoke.invoke_model_with_response_stream,
        resources=touched.invocation,
    )


def wire_reporting(
    app: App, store: Store, prices: PriceList, *, page_token_key: bytes, clock: Clock
) -> None:
    measurements = Measurements(store.usage, usage_sums)
    metrics = Metrics(measurements, page_token_key=page_token_key, clock=clock)
    data = MetricData(measurements, page_token_key=page_token_key, clock=clock)
    costs = Costs(store.usage, store.provisioned_hours, prices, clock=clock)
    explorer = CostExplorer(costs, page_token_key=page_token_key, clock=clock)

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
