"""The main job, as a user would do it: each command is printed, then run, then its real output."""

import os
import shlex
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

BIN = Path(sys.executable).parent
GIVE_UP_AFTER_S = 300
MESSAGE = '[{"role":"user","content":[{"text":"What is the capital of France?"}]}]'
CONFIG = '{"maxTokens":40,"temperature":0}'
STREAM = """\
import boto3
answer = boto3.client("bedrock-runtime").converse_stream(
    modelId={model_id!r},
    messages=[{{"role": "user", "content": [{{"text": "Count from one to five."}}]}}],
    inferenceConfig={{"maxTokens": 40, "temperature": 0}},
)
for event in answer["stream"]:
    if "contentBlockDelta" in event:
        print(event["contentBlockDelta"]["delta"]["text"], end="", flush=True)
    elif "metadata" in event:
        print(); print(event["metadata"]["usage"])
"""


def main() -> int:
    state = Path(tempfile.mkdtemp(prefix="outcrop-demo-"))
    listen = f"127.0.0.1:{free_port()}"
    keep = bool(os.environ.get("KEEP"))
    log = state / "server.log"
    print(f"$ outcrop serve --listen {listen} --state {state} 2> {log} &")
    with log.open("wb") as stderr:
        server = subprocess.Popen(
            [BIN / "outcrop", "serve", "--listen", listen, "--state", state],
            stderr=stderr,
            start_new_session=keep,
        )
    try:
        shell = Shell(environment(server, state, f"http://{listen}"))
        walk_through(shell)
    except subprocess.CalledProcessError as error:
        print(f"That failed with exit code {error.returncode}; see {log}.", file=sys.stderr)
        keep = False
        return 1
    finally:
        if keep:
            say(f"The server goes on (process {server.pid}). Use it from any shell:")
            print(f'  eval "$({BIN}/outcrop env --state {state} --url http://{listen})"')
            print(f"  kill {server.pid}   # when you are done")
        else:
            server.terminate()
            server.wait(timeout=20)
            say("The server has stopped.")
    return 0


class Shell:
    """Runs commands in the environment that `outcrop env` gives."""

    def __init__(self, variables: Mapping[str, str]) -> None:
        self._variables = variables

    def run(self, command: str) -> str:
        print(f"\n$ {command}", flush=True)
        program, *arguments = shlex.split(command)
        return self._output(BIN / program, *arguments)

    def python(self, program: str) -> str:
        print("\n$ python - <<'EOF'\n" + program + "EOF", flush=True)
        return self._output(sys.executable, "-c", program)

    def _output(self, *command: str | Path) -> str:
        done = subprocess.run(
            command, env=self._variables, stdout=subprocess.PIPE, text=True, check=True
        )
        print(done.stdout, end="" if done.stdout.endswith("\n") else "\n", flush=True)
        return done.stdout.strip()


def walk_through(shell: Shell) -> None:
    say("What this Region offers, as Amazon Bedrock lists it:")
    shell.run("aws bedrock list-inference-profiles --max-results 2 --output json")
    shell.run("aws bedrock list-provisioned-model-throughputs --output json")

    say("An application inference profile, copied from a system-defined one:")
    system_arn = shell.run(
        "aws bedrock get-inference-profile --output text --query inferenceProfileArn "
        "--inference-profile-identifier us.amazon.nova-lite-v1:0"
    )
    profile_arn = shell.run(
        "aws bedrock create-inference-profile --output text --query inferenceProfileArn "
        "--inference-profile-name checkout-team --tags key=team,value=checkout "
        f"--model-source copyFrom={system_arn}"
    )

    say("Two model units, bought and watched until they are InService:")
    provisioned_arn = shell.run(
        "aws bedrock create-provisioned-model-throughput --output text "
        "--query provisionedModelArn --provisioned-model-name checkout-units "
        "--model-id amazon.nova-lite-v1:0:24k --model-units 2"
    )
    wait_until_in_service(shell, provisioned_arn)

    say("A conversation through each name that stands for a model:")
    system_id = "us.amazon.nova-lite-v1:0"
    for model_id in ("amazon.nova-lite-v1:0", system_id, profile_arn, provisioned_arn):
        shell.run(
            f"aws bedrock-runtime converse --output json --model-id {model_id} "
            f"--messages {shlex.quote(MESSAGE)} --inference-config {shlex.quote(CONFIG)}"
        )
        shell.python(STREAM.format(model_id=model_id))

    say("And both listings again:")
    shell.run("aws bedrock list-inference-profiles --type-equals APPLICATION --output json")
    shell.run("aws bedrock list-provisioned-model-throughputs --output json")


def wait_until_in_service(shell: Shell, provisioned_arn: str) -> None:
    status = ""
    give_up = time.monotonic() + GIVE_UP_AFTER_S
    while status != "InService":
        if status == "Failed" or time.monotonic() > give_up:
            raise SystemExit(f"The provisioned model is {status}.")
        time.sleep(1)
        status = shell.run(
            "aws bedrock get-provisioned-model-throughput --output text --query status "
            f"--provisioned-model-id {provisioned_arn}"
        )


def environment(server: subprocess.Popen[bytes], state: Path, url: str) -> Mapping[str, str]:
    """Our own variables and those of `outcrop env`, once the server answers."""
    wait_until_listening(server, url)
    print(f'\n$ eval "$(outcrop env --state {state} --url {url})"', flush=True)
    lines = subprocess.run(
        [BIN / "outcrop", "env", "--state", state, "--url", url],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    ).stdout
    exports = dict(
        word.split("=", 1) for word in shlex.split(lines) if word != "export" and "=" in word
    )
    own = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    return own | exports | {"AWS_EC2_METADATA_DISABLED": "true"}


def wait_until_listening(server: subprocess.Popen[bytes], url: str) -> None:
    host, _, port = url.removeprefix("http://").partition(":")
    give_up = time.monotonic() + GIVE_UP_AFTER_S
    while True:
        try:
            socket.create_connection((host, int(port)), timeout=1).close()
        except OSError:
            if server.poll() is not None or time.monotonic() > give_up:
                raise SystemExit("The server did not start.") from None
            time.sleep(0.05)
        else:
            return


def free_port() -> int:
    """8787 if it is free, else any that is."""
    for port in (8787, 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise SystemExit("No port is free.")


def say(text: str) -> None:
    print(f"\n── {text}", flush=True)


if __name__ == "__main__":
    raise SystemExit(main())
