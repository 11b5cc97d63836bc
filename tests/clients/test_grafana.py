"""The Grafana dashboard: true to Grafana's schema, its queries answered by a real Prometheus.

What Grafana's own code makes of the answers is looked at too: names in legends, texts of stats.
"""

import json
import math
import re
import shutil
import socket
import subprocess
import time
import urllib.parse
import urllib.request
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.clients.environments import debian_program, node_environment, outside, seen
from tests.clients.scripted_server import scripted_server
from tests.conformance.signing import Signer
from tests.fakes.model_server import url_that_refuses
from tests.outcrop_process import REPOSITORY, OutcropProcess, outcrop_process
from tests.waiting import eventually

pytestmark = [pytest.mark.client, pytest.mark.timeout(300)]

DASHBOARD = REPOSITORY / "docs" / "grafana" / "outcrop.json"
MODEL = "amazon.nova-lite-v1:0"
# Grafana makes it four scrapes; so many seconds are scraped before anything is asked.
RATE_INTERVAL_S = 8
# What nothing that we do here brings about: a queue needs a server that is slow.
MAY_BE_ZERO = {"Waiting", "In progress", "Waiting and in progress", "In flight"}


def panels() -> list[Any]:
    found: list[Any] = json.loads(DASHBOARD.read_text())["panels"]
    return found


def test_the_dashboard_is_what_grafanas_schema_says(tmp_path: Path) -> None:
    folder = node_environment("grafana", Path(__file__).parent / "grafana")
    checking = tmp_path / "checking"
    shutil.copytree(folder, checking, ignore=shutil.ignore_patterns("node_modules"))
    (checking / "node_modules").symlink_to(folder / "node_modules")
    (checking / "dashboard.mts").write_text(
        "import type { OutcropDashboard } from './schema.mjs';\n"
        f"export const dashboard: OutcropDashboard = {DASHBOARD.read_text()};\n"
    )

    checked = subprocess.run(
        ["node_modules/.bin/tsc", "-p", "."],
        cwd=checking,
        capture_output=True,
        text=True,
        check=False,
    )

    assert checked.returncode == 0, checked.stdout


def test_panels_have_ids_of_their_own_and_do_not_overlap() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in panels():
        at = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(at["x"], at["x"] + at["w"])
            for y in range(at["y"], at["y"] + at["h"])
        }
        assert not cells & taken, panel["title"]
        assert at["x"] + at["w"] <= 24
        taken |= cells
    assert len({panel["id"] for panel in panels()}) == len(panels())


def test_every_query_of_the_dashboard_is_answered_by_prometheus(tmp_path: Path) -> None:
    with scraped(tmp_path) as url:
        answers = {
            (panel["title"], target["refId"]): query(url, target["expr"])
            for panel in panels()
            for target in panel.get("targets", [])
        }
        named = {name: label_values(url, asked) for name, asked in variables().items()}

    assert {asked for asked, samples in answers.items() if not samples} == set()
    silent = {title for (title, _), samples in answers.items() if not any(map(_is_number, samples))}
    assert silent - MAY_BE_ZERO == set()
    assert named["model"] == [MODEL]
    assert named["region"] == ["us-east-1"]
    assert len(named["profile"]) == 1


def test_grafana_names_each_series_and_has_no_errors_of_a_server_that_nobody_asks(
    tmp_path: Path,
) -> None:
    folder = node_environment("grafana", Path(__file__).parent / "grafana")
    with scraped(tmp_path) as url:
        busy = shown(url, tmp_path, folder)
        assert eventually(lambda: is_at_rest(url), within_s=4 * RATE_INTERVAL_S)
        at_rest = shown(url, tmp_path, folder)

    assert {title for title, names in busy.items() if "Value" in names} == set()
    assert busy["Requests by outcome"][0] == "answered"
    assert "ThrottlingException" in busy["Requests by outcome"]
    assert busy["Requests by model"][0] == MODEL
    # A legend cuts long names off at their end: a model is its id here, and not its ARN.
    assert {re.sub(r"^\w{12} ", "", name) for name in busy["Provisioned utilization"]} == {
        "input",
        "output",
    }
    (busy_errors,) = busy["Errors"]
    assert re.fullmatch(r"[1-9][0-9.]*%", busy_errors)
    assert at_rest["Errors"] == ["0%"]
    assert at_rest["Requests"] == ["0 req/s"]


def is_at_rest(url: str) -> bool:
    (requests,) = query_range(url, "sum(rate(outcrop_requests_total[$__rate_interval]))")
    return float(requests["values"][-1][1]) == 0


def shown(url: str, folder: Path, programs: Path) -> dict[str, list[str]]:
    """By panel: the names in its legend, or the texts of its stats."""
    answers = {
        panel["title"]: {
            target["refId"]: query_range(url, target["expr"]) for target in panel["targets"]
        }
        for panel in panels()
        if panel["type"] != "row"
    }
    answered = folder / "answers.json"
    answered.write_text(json.dumps(answers))
    told: dict[str, list[str]] = seen(
        ["node", "shown.cjs", DASHBOARD, answered], outside({}, folder), programs
    )
    return told


def variables() -> dict[str, str]:
    """What asks for the values of each that has some, by its name."""
    listed = json.loads(DASHBOARD.read_text())["templating"]["list"]
    return {one["name"]: one["query"]["query"] for one in listed if one["type"] == "query"}


@contextmanager
def scraped(folder: Path) -> Generator[str]:
    """The address of a Prometheus that has seen a server with work."""
    port = free_port()
    with (
        scripted_server() as model_server,
        outcrop_process(folder / "state", config=configuration(model_server.url, port)) as server,
        prometheus(folder, port) as url,
    ):
        live(server, for_s=RATE_INTERVAL_S + 4)
        yield url


def configuration(url: str, port: int) -> str:
    return f"""
log_level = "error"
[embedded]
enabled = false
[provisioned_throughput]
creating_s = 0
[metrics]
listen = "127.0.0.1:{port}"
[[model_servers]]
name = "gpu"
url = "{url}"
models = {{ "{MODEL}" = "m" }}
[[model_servers]]
name = "gone"
url = "{url_that_refuses()}"
models = {{ "{MODEL}" = "m" }}
[[model_units]]
model = "{MODEL}"
input_tokens_per_minute = 5000
output_tokens_per_minute = 1200
"""


def live(server: OutcropProcess, *, for_s: float) -> None:
    """All that a day brings, in seconds."""
    profile = created(
        server,
        "/inference-profiles",
        {
            "inferenceProfileName": "app",
            "modelSource": {"copyFrom": f"arn:aws:bedrock:us-east-1::foundation-model/{MODEL}"},
        },
    )["inferenceProfileArn"]
    bought = created(
        server,
        "/provisioned-model-throughput",
        {"modelUnits": 1, "provisionedModelName": "bought", "modelId": MODEL},
    )["provisionedModelArn"]
    until = time.monotonic() + for_s
    while time.monotonic() < until:
        ask(server, MODEL, "hello")
        ask(server, MODEL, "Answer 400.")
        ask(server, MODEL, "Answer 503.")
        ask(server, MODEL, "From the cache.", caches=True)
        ask(server, profile, "hello")
        ask(server, bought, "hello", spillover=True)
        ask(server, bought, "hello")
        time.sleep(0.1)


def created(server: OutcropProcess, path: str, body: object) -> Any:
    headers = {"content-type": "application/json"}
    answer = Signer(server).ask("POST", path, json.dumps(body).encode(), headers=headers)
    assert answer.status in {200, 201}, answer
    return json.loads(answer.body)


def ask(
    server: OutcropProcess, model: str, text: str, *, caches: bool = False, spillover: bool = False
) -> None:
    content: list[Any] = [{"text": text}]
    if caches:
        content.append({"cachePoint": {"type": "default"}})
    body = json.dumps({"messages": [{"role": "user", "content": content}]}).encode()
    headers = {"content-type": "application/json"}
    if spillover:
        headers["x-outcrop-spillover"] = "on"
    path = f"/model/{urllib.parse.quote(model, safe='')}/converse"
    Signer(server).ask("POST", path, body, headers=headers)


@contextmanager
def prometheus(folder: Path, port: int) -> Generator[str]:
    """A real one, which scrapes every second; its address."""
    program = debian_program("prometheus", "usr/bin/prometheus")
    config = folder / "prometheus.yml"
    config.write_text(
        "global: {scrape_interval: 1s}\nscrape_configs:\n- job_name: outcrop\n"
        f"  static_configs: [{{targets: ['127.0.0.1:{port}']}}]\n"
    )
    listen = f"127.0.0.1:{free_port()}"
    command: list[str | Path] = [
        program,
        f"--config.file={config}",
        f"--storage.tsdb.path={folder / 'tsdb'}",
        f"--web.listen-address={listen}",
    ]
    with (folder / "prometheus.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        await_ready(f"http://{listen}/-/ready")
        yield f"http://{listen}"
    finally:
        process.terminate()
        process.wait(20)


def await_ready(url: str) -> None:
    def answers() -> bool:
        try:
            with urllib.request.urlopen(url, timeout=5):
                return True
        except OSError:
            return False

    assert eventually(answers, within_s=30)


def query(url: str, expression: str) -> list[float]:
    """Values, one a series, as Grafana would have them with everything selected."""
    found = _asked(url, "query", query=_filled_in(expression))["result"]
    return [float(one["value"][1]) for one in found]


def query_range(url: str, expression: str) -> Any:
    """Series with the values of the last minute, a value a second."""
    end = int(time.time())
    span = {"start": str(end - 60), "end": str(end), "step": "1"}
    return _asked(url, "query_range", query=_filled_in(expression), **span)["result"]


def _filled_in(expression: str) -> str:
    for variable in ("$model", "$region", "$profile"):
        expression = expression.replace(variable, ".*")
    return expression.replace("$__rate_interval", f"{RATE_INTERVAL_S}s")


def label_values(url: str, asked: str) -> list[str]:
    """Of a query that Grafana itself takes apart."""
    told = re.fullmatch(r"label_values\((\w+),(\w+)\)", asked)
    assert told, asked
    found: list[str] = _asked(url, f"label/{told[2]}/values", **{"match[]": told[1]})
    return found


def _asked(url: str, path: str, **parameters: str) -> Any:
    with urllib.request.urlopen(
        f"{url}/api/v1/{path}?{urllib.parse.urlencode(parameters)}", timeout=10
    ) as answer:
        told = json.loads(answer.read())
    assert told["status"] == "success", told
    return told["data"]


def _is_number(value: float) -> bool:
    """Neither zero nor nothing divided by nothing."""
    return not math.isnan(value) and value != 0


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port
