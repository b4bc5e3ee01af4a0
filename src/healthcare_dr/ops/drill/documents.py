"""Documents as a region answers them: whether its own bucket has the bytes, and whether they are the right ones."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from healthcare_dr.ops.seed.papers import SHA256, sha256

if TYPE_CHECKING:
    import httpx

Resource = Mapping[str, Any]

BUSY: Final = (429, 502, 503, 504)
"""Answers of a region, or of S3, that is there and has no time: asked again later, it may answer."""


def own_address(document: Resource, bucket: str) -> str | None:
    """Where `bucket` gives the document's bytes; None when it has none: the API then names another region's bucket, or
    nothing.

    S3 is addressed by host (`BUCKET.s3.…`) or, on the embedded AWS, by path (`/BUCKET/…`).
    """
    address = str(_attachment(document).get("url", ""))
    parts = urlsplit(address)
    named = ((parts.hostname or "").partition(".")[0], parts.path.removeprefix("/").partition("/")[0])
    return address if bucket in named else None


def intact(document: Resource, address: str, client: "httpx.Client") -> bool | None:
    """Return whether what lies at `address` is what was announced, by its SHA-256; None when S3 has no time.

    Raises:
        httpx.TransportError: S3 does not answer.
    """
    extensions = _attachment(document)["extension"]
    (announced,) = (found["valueBase64Binary"] for found in extensions if found["url"] == SHA256)
    answer = client.get(address)
    if answer.status_code in BUSY:
        return None
    return answer.status_code == 200 and sha256(answer.content) == announced


def _attachment(document: Resource) -> Resource:
    found: Resource = document["content"][0]["attachment"]
    return found
