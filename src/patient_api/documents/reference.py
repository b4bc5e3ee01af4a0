"""A DocumentReference as the functions look at it: what it announces, whose it is, and where its bytes lie."""

import base64
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

from patient_api.contract.keys import DOCUMENT, PATIENT
from patient_api.errors import StorageFault
from patient_api.fhir.codec import JsonValue, parse
from patient_api.fhir.profile.document import DeclaredContent, declared_content
from patient_api.store.model import RecordKey, Version, is_id

# Extensions of the attachment that are the server's own: where to send the bytes, and which they were.
UPLOAD: Final = "urn:healthcare-dr:upload"
STORED: Final = "urn:healthcare-dr:stored"

PRELIMINARY: Final = "preliminary"
FINAL: Final = "final"
IN_ERROR: Final = "entered-in-error"

_FOLDER: Final = "documents"
_TENANT: Final = re.compile(r"[A-Za-z0-9._-]{1,64}")

Resource = dict[str, JsonValue]


def object_key(key: RecordKey) -> str:
    """Where a document's bytes lie, in the bucket of either region."""
    return f"{_FOLDER}/{key.tenant}/{key.id}"


def record_of(object_key: str) -> RecordKey | None:
    """The record whose bytes these are; None when they are no document's."""
    folder, _, rest = object_key.partition("/")
    tenant, _, name = rest.partition("/")
    if folder != _FOLDER or not _TENANT.fullmatch(tenant) or not is_id(name):
        return None
    return RecordKey(tenant, DOCUMENT, name)


@dataclass(frozen=True)
class Document:
    """A version of a DocumentReference, read. `announced.sha256` is in canonical base64."""

    version: Version
    resource: Resource
    announced: DeclaredContent

    @classmethod
    def of(cls, version: Version) -> "Document":
        """Raises StorageFault for what is no DocumentReference of ours, or was deleted."""
        resource = parse(version.resource.encode()) if version.resource is not None else None
        if not isinstance(resource, dict):
            raise _unreadable()
        return cls(version, resource, announced_in(resource))

    @property
    def name(self) -> str:
        """The key of its object."""
        return object_key(self.version.key)

    @property
    def status(self) -> JsonValue:
        """Its docStatus."""
        return self.resource.get("docStatus")

    @property
    def patient(self) -> str:
        """Whose it is: `Patient/<id>`."""
        return f"{PATIENT}/{patient_id(self.resource)}"

    @property
    def stored(self) -> Mapping[str, str]:
        """The version id of its object by region, once it is final."""
        found: dict[str, str] = {}
        for extension in _objects(attachment(self.resource).get("extension")):
            if extension.get("url") == STORED:
                inner = _objects(extension.get("extension"))
                found |= {str(region["url"]): str(region["valueString"]) for region in inner}
        return found


def announced_in(resource: Resource) -> DeclaredContent:
    """What a valid DocumentReference announces."""
    found = declared_content(resource)
    # Equal bytes can be written in more than one way in base64; S3 and hashlib write them in this one.
    return replace(found, sha256=base64.b64encode(base64.b64decode(found.sha256)).decode())


def patient_id(resource: Resource) -> str:
    """The patient that a valid DocumentReference is about."""
    match resource.get("subject"):
        case {"reference": str(reference)}:
            return reference.removeprefix(f"{PATIENT}/")
    raise _unreadable()


def attachment(resource: Resource) -> Resource:
    """The one attachment of a valid DocumentReference."""
    for content in _objects(resource.get("content")):
        held = content.get("attachment")
        if isinstance(held, dict):
            return held
    raise _unreadable()


def extension_urls(resource: Resource) -> frozenset[str]:
    """The extensions of the attachment."""
    return frozenset(str(entry.get("url")) for entry in _objects(attachment(resource).get("extension")))


def extended(resource: Resource, *extensions: Resource, **elements: JsonValue) -> Resource:
    """The resource with more extensions and elements in its attachment."""
    held = attachment(resource)
    more: Resource = {"extension": [*_objects(held.get("extension")), *extensions]} if extensions else {}
    (content,) = _objects(resource.get("content"))
    return {**resource, "content": [{**content, "attachment": {**held, **more, **elements}}]}


def stored(versions: Mapping[str, str]) -> Resource:
    """The extension that says which version of the object each region holds."""
    inner: list[JsonValue] = [{"url": region, "valueString": version} for region, version in sorted(versions.items())]
    return {"url": STORED, "extension": inner}


def _objects(value: JsonValue) -> list[Resource]:
    return [entry for entry in value if isinstance(entry, dict)] if isinstance(value, list) else []


def _unreadable() -> StorageFault:
    return StorageFault(operation="Read", code="UnreadableVersion")
