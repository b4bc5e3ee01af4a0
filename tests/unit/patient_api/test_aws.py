"""The endpoints of the clients on AWS, and connections that servers close."""

import logging
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext

import pytest
from botocore.exceptions import ClientError
from botocore.session import get_session

from patient_api.aws import BACKGROUND, INTERACTIVE, Clients, DatedDynamoDB, translated
from patient_api.clock import CheckedTime
from patient_api.errors import StorageFault
from unit.http_server import Request, Response, http_server

CONTENT = b"content" * 1000


@pytest.fixture(autouse=True)
def on_aws(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ENDPOINT_URL", "AWS_PROFILE", "AWS_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAIOSFODNN7EXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "example")


@pytest.mark.trap(27)
@pytest.mark.parametrize("config", [INTERACTIVE, BACKGROUND], ids=["api", "confirmation"])
@pytest.mark.parametrize("region", ["us-east-1", "us-west-2"])
def test_presigned_urls_name_the_endpoint_of_their_region(region: str, config: object) -> None:
    client = get_session().create_client("s3", region_name=region, config=config)
    for operation in ("put_object", "get_object"):
        address = client.generate_presigned_url(operation, Params={"Bucket": "hdr-documents-x", "Key": "documents/a/b"})
        assert address.startswith(f"https://hdr-documents-x.s3.{region}.amazonaws.com/documents/a/b?")


@pytest.mark.trap(27)
@pytest.mark.parametrize("region", ["us-east-1", "us-west-2"])
def test_credentials_for_the_peer_come_from_the_own_region(region: str) -> None:
    clients = Clients(region=region)
    assert clients._sts().meta.endpoint_url == f"https://sts.{region}.amazonaws.com"


class ClosingServer:
    """A server that responds to the first `served` requests of each connection, and then closes the connection."""

    def __init__(self) -> None:
        self.served = 1
        self.status = 200
        self.requests: list[Request] = []
        self.concurrent: threading.Barrier | None = None

    @property
    def connections(self) -> list[int]:
        """The connection of each request."""
        return [request.connection for request in self.requests]

    def respond(self, request: Request) -> Response | None:
        self.requests.append(request)
        if self.connections.count(request.connection) > self.served:
            return None
        if self.concurrent:
            self.concurrent.wait(30)
        return Response(self.status, b"{}" if request.method == "POST" else b"")


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[ClosingServer]:
    closing = ClosingServer()
    with http_server(closing.respond) as address:
        monkeypatch.setenv("AWS_ENDPOINT_URL", address)
        yield closing


Call = Callable[[Clients], object]


def read_item(clients: Clients) -> object:
    return clients.dynamodb().get_item(TableName="records", Key={"pk": {"S": "a"}})


def find_bucket(clients: Clients) -> object:
    return clients.s3().head_bucket(Bucket="documents")


def use_key(clients: Clients) -> object:
    return clients.kms().generate_data_key_without_plaintext(KeyId="key", KeySpec="AES_256")


def write_document(clients: Clients) -> object:
    return clients.documents().put_object(Bucket="documents", Key="document", Body=CONTENT)


SINGLE_ATTEMPT = [find_bucket, use_key, write_document]


@pytest.mark.requirement("C5")
@pytest.mark.parametrize("call", [*SINGLE_ATTEMPT, read_item])
def test_request_on_a_closed_connection_is_repeated_at_once(
    call: Call, server: ClosingServer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, logger="botocore.endpoint")
    clients = Clients(region="us-east-1")
    call(clients)
    assert len(server.requests) == 1
    call(clients)
    first, closed, repeated = server.connections
    assert first == closed != repeated
    assert server.requests[1].body == server.requests[2].body
    if call is write_document:
        assert server.requests[2].body == CONTENT
    (delay,) = [record.args for record in caplog.records if "sleeping" in record.msg]
    assert delay == (0.0,)


@pytest.mark.parametrize("status", [200, 400])
def test_every_response_of_dynamodb_measures_its_time(server: ClosingServer, status: int) -> None:
    def request() -> None:
        raise AssertionError("the time was measured")

    server.status = status
    ahead = 0.0
    checked = CheckedTime(now=lambda: time.time() + ahead, monotonic=time.monotonic, bound_seconds=5, request=request)
    client = DatedDynamoDB(Clients(region="us-east-1").dynamodb(), checked)
    with nullcontext() if status == 200 else pytest.raises(ClientError):
        client.get_item(TableName="records", Key={"pk": {"S": "a"}})
    assert checked.checked_ms() == pytest.approx(time.time() * 1000, abs=5_000)
    ahead = 7.0
    with pytest.raises(AssertionError, match="the time was measured"):
        checked.checked_ms()


@pytest.mark.parametrize("call", SINGLE_ATTEMPT)
def test_request_whose_connections_are_always_closed_fails_after_two_attempts(
    call: Call, server: ClosingServer
) -> None:
    server.served = 0
    with pytest.raises(StorageFault) as raised, translated("Call"):
        call(Clients(region="us-east-1"))
    assert raised.value.code == "ConnectionClosedError"
    assert len(server.requests) == 2


@pytest.mark.parametrize("call", SINGLE_ATTEMPT)
def test_error_responses_are_not_repeated(call: Call, server: ClosingServer) -> None:
    server.status = 500
    with pytest.raises(StorageFault), translated("Call"):
        call(Clients(region="us-east-1"))
    assert len(server.requests) == 1


def test_closed_connection_ends_the_use_of_all_idle_connections(server: ClosingServer) -> None:
    clients = Clients(region="us-east-1")
    clients.s3()
    find_buckets_concurrently(clients, server)
    idle = set(server.connections)
    assert len(idle) == 3
    find_bucket(clients)
    assert server.connections[3] in idle
    server.served = 2
    find_buckets_concurrently(clients, server)
    assert idle.isdisjoint(server.connections[4:])


def find_buckets_concurrently(clients: Clients, server: ClosingServer) -> None:
    """Send three requests, each on a connection of its own."""
    server.concurrent = threading.Barrier(3)
    with ThreadPoolExecutor(3) as pool:
        list(pool.map(find_bucket, [clients] * 3))
    server.concurrent = None
