"""The endpoints of the clients on AWS."""

import pytest
from botocore.session import get_session

from patient_api.aws import BACKGROUND, INTERACTIVE, Clients


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
