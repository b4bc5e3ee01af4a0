"""What Lambda's environment tells the function."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self


@dataclass(frozen=True)
class Environment:
    """Names of this region's resources and of the peer's; `region` is set by Lambda itself."""

    region: str
    peer_region: str
    records_table: str
    audit_table: str
    documents_bucket: str
    key_arn: str
    peer_documents_bucket: str
    peer_role_arn: str
    index_key: str
    log_level: str
    cors: bool = False
    """Whether browser applications of other origins may call the API."""
    issuer: str = ""
    """Of the callers' tokens; empty where they sign with IAM credentials, and in functions that serve no callers."""

    @classmethod
    def of(cls, variables: Mapping[str, str]) -> Self:
        """Raises KeyError with the name of a variable that is not set."""
        return cls(
            region=variables["AWS_REGION"],
            peer_region=variables["PEER_REGION"],
            records_table=variables["RECORDS_TABLE"],
            audit_table=variables["AUDIT_TABLE"],
            documents_bucket=variables["DOCUMENTS_BUCKET"],
            key_arn=variables["KEY_ARN"],
            peer_documents_bucket=variables["PEER_DOCUMENTS_BUCKET"],
            peer_role_arn=variables["PEER_ROLE_ARN"],
            index_key=variables["INDEX_KEY_ALIAS"],
            log_level=variables["LOG_LEVEL"],
            cors=variables.get("CORS") == "true",
            issuer=variables.get("OIDC_ISSUER", ""),
        )
