"""Credentials of the role in the other region: cached, and renewed in time."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from botocore.exceptions import ClientError

from patient_api.aws import AssumedRole, Clients
from unit.patient_api.documents.aws import Embedded
from unit.patient_api.fakes.aws import client_error
from unit.patient_api.fakes.documents import EAST, WEST

ROLE = "arn:aws:iam::123456789012:role/documents-peer"


class FakeSTS:
    """Returns credentials that are valid for `lifetime`; fails while `down`."""

    def __init__(self, lifetime: timedelta) -> None:
        self.lifetime = lifetime
        self.requests: list[dict[str, Any]] = []
        self.down = False

    def assume_role(self, **request: Any) -> dict[str, Any]:
        self.requests.append(request)
        if self.down:
            raise client_error("ServiceUnavailable", status=503)
        credentials = {"AccessKeyId": f"key-{len(self.requests)}", "SecretAccessKey": "s", "SessionToken": "t"}
        return {"Credentials": {**credentials, "Expiration": datetime.now(UTC) + self.lifetime}}


def test_role_is_assumed_on_first_use_and_cached() -> None:
    sts = FakeSTS(timedelta(hours=1))
    credentials = AssumedRole(sts=lambda: sts, role=ROLE).load_credentials()
    assert sts.requests == []
    assert [credentials.get_frozen_credentials().access_key for _ in range(3)] == ["key-1"] * 3
    assert [request["RoleArn"] for request in sts.requests] == [ROLE]


def test_role_is_assumed_again_before_it_expires() -> None:
    sts = FakeSTS(timedelta(minutes=12))
    credentials = AssumedRole(sts=lambda: sts, role=ROLE).load_credentials()
    assert [credentials.get_frozen_credentials().access_key for _ in range(2)] == ["key-1", "key-2"]


@pytest.mark.parametrize(("minutes", "usable"), [(12, True), (9, False)])
def test_credentials_are_used_without_sts_until_shortly_before_expiry(minutes: int, usable: bool) -> None:
    sts = FakeSTS(timedelta(minutes=minutes))
    credentials = AssumedRole(sts=lambda: sts, role=ROLE).load_credentials()
    credentials.get_frozen_credentials()
    sts.down = True
    if usable:
        assert credentials.get_frozen_credentials().access_key == "key-1"
    else:
        with pytest.raises(ClientError):
            credentials.get_frozen_credentials()


def test_clients_are_created_once_for_their_region(embedded: Embedded) -> None:
    clients = Clients(region=EAST)
    other = clients.documents_of(region=WEST, role=ROLE)
    assert clients.documents_of(region=WEST, role=ROLE) is other
    assert clients.documents() is clients.documents()
    assert clients.documents() is not clients.s3()
    assert (clients.documents().meta.region_name, other.meta.region_name) == (EAST, WEST)  # type: ignore[attr-defined]
