"""The HTTP headers that the gateway passes between browsers and the API."""

from typing import Final

# Browsers send these, and show those of a response to an application, only if API Gateway lists them. In lower case,
# as API Gateway stores them.
REQUEST_HEADERS: Final = (
    "accept", "authorization", "content-encoding", "content-type", "idempotency-key", "if-match", "if-modified-since",
    "if-none-exist", "if-none-match", "if-unmodified-since", "merges", "minimum-version", "prefer",
)  # fmt: skip
EXPOSED_HEADERS: Final = (
    "accept-encoding", "accept-patch", "allow", "apigw-requestid", "etag", "last-modified", "location", "retry-after",
    "www-authenticate",
)  # fmt: skip
