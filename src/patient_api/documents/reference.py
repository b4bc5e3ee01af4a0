"""Read and build the DocumentReference resource of a document."""

import base64
import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from patient_api.contract.keys import DOCUMENT, PATIENT
from patient_api.errors import StorageFault
from patient_api.fhir.codec import JsonValue, parse
from patient_api.fhir.profile.document import DeclaredContent, declared_content
from patient_api.store.model import RecordKey, Version, is_id

UPLOAD: Final = "urn:healthcare-dr:upload"
"""The extension of an attachment with the addresses for the upload. It is in responses only."""
STORED: Final = "urn:healthcare-dr:stored"
"""The extension of an attachment with the version id of the verified object in each region."""

PRELIMINARY: Final = "preliminary"
FINAL: Final = "final"
IN_ERROR: Final = "entered-in-error"

_FOLDER: Final = "documents"
_TENANT: Final = re.compile(r"[A-Za-z0-9._-]{1,64}")

Resource = dict[str, JsonValue]


def object_key(key: RecordKey) -> str:
    """Return the key of a document's object, which is the same in the buckets of both regions."""
    return f"{_FOLDER}/{key.tenant}/{key.id}"


def record_of(object_key: str) -> RecordKey | None:
    """Return the document whose object has the key, None for other objects."""
    folder, _, rest = object_key.partition("/")
    tenant, _, name = rest.partition("/")
    if folder != _FOLDER or not _TENANT.fullmatch(tenant) or not is_id(name):
        return None
    return RecordKey(tenant, DOCUMENT, name)


def resource_of(version: Version) -> Resource:
    """Return the parsed resource of a version. Raises StorageFault for a version that is no DocumentReference."""
    resource = parse(version.resource.encode()) if version.resource is not None else None
    if not isinstance(resource, dict):
        raise _unreadable()
    return resource


def declared_in(resource: Resource) -> DeclaredContent:
    """Return the content that a valid DocumentReference declares, with its SHA-256 in canonical base64."""
    found = declared_content(resource)
    # Base64 can encode equal bytes in more than one way; S3 and hashlib use the canonical one.
    return replace(found, sha256=base64.b64encode(base64.b64decode(found.sha256)).decode())


def patient_id(resource: Resource) -> str:
    """Return the id of the patient that a valid DocumentReference is about."""
    match resource.get("subject"):
        case {"reference": str(reference)}:
            return reference.removeprefix(f"{PATIENT}/")
    raise _unreadable()


def extension_urls(resource: Resource) -> frozenset[str]:
    """Return the URLs of the extensions of the attachment."""
    return frozenset(str(entry.get("url")) for entry in _objects(_attachment(resource).get("extension")))


def extended(resource: Resource, *extensions: Resource, **elements: JsonValue) -> Resource:
    """Return the resource with more extensions and elements in its attachment."""
    attachment = _attachment(resource)
    more: Resource = {"extension": [*_objects(attachment.get("extension")), *extensions]} if extensions else {}
    (content,) = _objects(resource.get("content"))
    return {**resource, "content": [{**content, "attachment": {**attachment, **more, **elements}}]}


def stored_in(resource: Resource) -> Mapping[str, str]:
    """Return the version id of the verified object by region, empty for a document that is not final."""
    found: dict[str, str] = {}
    for extension in _objects(_attachment(resource).get("extension")):
        if extension.get("url") == STORED:
            inner = _objects(extension.get("extension"))
            found |= {str(region["url"]): str(region["valueString"]) for region in inner}
    return found


def final(resource: Resource, objects: Mapping[str, str]) -> Resource:
    """Return the final resource of a declared document. `objects` has the verified object's version id by region."""
    inner: list[JsonValue] = [{"url": region, "valueString": version} for region, version in sorted(objects.items())]
    return extended(resource | {"docStatus": FINAL}, {"url": STORED, "extension": inner})


def in_error(resource: Resource) -> Resource:
    """Return the resource of a document that was never uploaded, or whose bytes are not the declared ones."""
    return resource | {"status": IN_ERROR, "docStatus": IN_ERROR}


def _attachment(resource: Resource) -> Resource:
    for content in _objects(resource.get("content")):
        attachment = content.get("attachment")
        if isinstance(attachment, dict):
            return attachment
    raise _unreadable()


def _objects(value: JsonValue) -> list[Resource]:
    return [entry for entry in value if isinstance(entry, dict)] if isinstance(value, list) else []


def _unreadable() -> StorageFault:
    return StorageFault(operation="Read", code="UnreadableVersion")
