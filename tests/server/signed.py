"""Requests signed as a client signs them, for an App without an edge."""

from pathlib import Path

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from outcrop.iam.access_keys import read_root_access_key
from outcrop.wire.http import HttpRequest

MODEL = "amazon.nova-lite-v1:0"


def signed(state: Path, operation: str, body: bytes, *, model: str = MODEL) -> HttpRequest:
    key = read_root_access_key(state)
    path = f"/model/{model.replace(':', '%3A')}/{operation}"
    headers = {"content-type": "application/json"}
    request = AWSRequest("POST", f"http://127.0.0.1{path}", headers=headers, data=body)
    credentials = Credentials(key.access_key_id, key.secret_access_key)
    SigV4Auth(credentials, "bedrock", "us-east-1").add_auth(request)
    lowered = {name.lower(): value for name, value in request.headers.items()}
    return HttpRequest(
        method="POST", raw_path=path, headers={"host": "127.0.0.1", **lowered}, body=body
    )
