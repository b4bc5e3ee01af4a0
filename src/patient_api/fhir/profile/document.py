"""Read what a DocumentReference declares about its document before the upload.

R4's Attachment.hash is a SHA-1 and its size ends at 2 GiB, so the SHA-256 and a greater size come as extensions.
"""

from dataclasses import dataclass
from typing import Any, Final

SHA256: Final = "urn:healthcare-dr:sha256"
SIZE: Final = "urn:healthcare-dr:size"
LARGEST_UNSIGNED_INT: Final = 2_147_483_647
LARGEST_DOCUMENT: Final = 5 * 1024**3


@dataclass(frozen=True)
class DeclaredContent:
    """`content_type` is a media type, `size` in bytes, `sha256` in base64, as S3 takes it."""

    content_type: str
    size: int
    sha256: str


def declared_content(resource: dict[str, Any]) -> DeclaredContent:
    """Return the declaration of the one attachment of `resource`, a validated DocumentReference."""
    attachment = resource["content"][0]["attachment"]
    size = attachment["size"] if "size" in attachment else extensions(attachment, SIZE)[0]["valueDecimal"]
    return DeclaredContent(
        content_type=attachment["contentType"],
        size=int(size),
        sha256=extensions(attachment, SHA256)[0]["valueBase64Binary"],
    )


def extensions(element: dict[str, Any], url: str) -> list[dict[str, Any]]:
    """Return the extensions of an element that have the URL."""
    return [extension for extension in element.get("extension", ()) if extension["url"] == url]
