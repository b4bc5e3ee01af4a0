"""The media types and headers of requests and responses, and the texts that clients distinguish.

FHIR R4 defines its media types in https://hl7.org/fhir/R4/http.html#mime-type.
"""

from typing import Final

FHIR_JSON: Final = "application/fhir+json"
JSON: Final = "application/json"
JSON_PATCH: Final = "application/json-patch+json"
MERGE_PATCH: Final = "application/merge-patch+json"
FORM: Final = "application/x-www-form-urlencoded"

ACCEPT: Final = "Accept"
CONTENT_ENCODING: Final = "Content-Encoding"
CONTENT_TYPE: Final = "Content-Type"
IDEMPOTENCY_KEY: Final = "Idempotency-Key"
IF_MATCH: Final = "If-Match"
IF_MODIFIED_SINCE: Final = "If-Modified-Since"
IF_NONE_EXIST: Final = "If-None-Exist"
IF_NONE_MATCH: Final = "If-None-Match"
IF_UNMODIFIED_SINCE: Final = "If-Unmodified-Since"
MERGES: Final = "Merges"
MINIMUM_VERSION: Final = "Minimum-Version"
PREFER: Final = "Prefer"

ACCEPT_PATCH: Final = "Accept-Patch"
ALLOW: Final = "Allow"
ETAG: Final = "ETag"
LAST_MODIFIED: Final = "Last-Modified"
LOCATION: Final = "Location"
RETRY_AFTER: Final = "Retry-After"

# Browsers send these, and show those of a response to an application, only if API Gateway lists them. In lower case,
# as API Gateway stores them.
REQUEST_HEADERS: Final = tuple(
    name.lower()
    for name in (
        ACCEPT, "Authorization", CONTENT_ENCODING, CONTENT_TYPE, IDEMPOTENCY_KEY, IF_MATCH, IF_MODIFIED_SINCE,
        IF_NONE_EXIST, IF_NONE_MATCH, IF_UNMODIFIED_SINCE, MERGES, MINIMUM_VERSION, PREFER,
    )
)  # fmt: skip
EXPOSED_HEADERS: Final = tuple(
    name.lower()
    for name in (
        "Accept-Encoding", ACCEPT_PATCH, ALLOW, "Apigw-Requestid", ETAG, LAST_MODIFIED, LOCATION, RETRY_AFTER,
        "WWW-Authenticate",
    )
)  # fmt: skip

NOT_YET_HERE: Final = "This region has not yet received a version that the request names."
"""Part of a response with 503: it concerns the version, and the region is not busy."""
