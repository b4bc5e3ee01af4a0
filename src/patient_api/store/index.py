"""Derive the tokens that a record is indexed by, and read the index.

A token leads to candidates only: a search checks each of them. So a token may be less specific than the criterion,
such as the first letters of a name. `Tokenizer` blinds values before they become keys.
"""

import random
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from patient_api.aws import DynamoDB
from patient_api.aws_errors import translated
from patient_api.contract.keys import DOCUMENT, PATIENT, UPDATE_INDEX, UPDATE_SHARDS
from patient_api.errors import StorageFault
from patient_api.fhir.codec import JsonValue
from patient_api.fhir.normalize import fold
from patient_api.secrets import Secrets
from patient_api.store.model import RecordKey, Token, Version, head_sk, pk, shard, token_pk, version_in

# How many of a name's first letters are looked for at once.
SHORT_PREFIX: Final = 2
LONG_PREFIX: Final = 4

Resource = dict[str, JsonValue]


class Tokenizer:
    """Tokens of resources and of searches, blinded. Its methods raise StorageFault when the secret is out of reach."""

    def __init__(self, *, secrets: Secrets) -> None:
        self._secrets = secrets

    def tokens(self, tenant: str, resource: Resource) -> frozenset[Token]:
        """All that a resource is to be found by."""
        kind = str(resource["resourceType"])
        clear = {PATIENT: _patient, DOCUMENT: _document}[kind](resource)
        return frozenset(self.token(tenant, kind, parameter, value) for parameter, value in set(clear))

    def token(self, tenant: str, kind: str, parameter: str, value: str) -> Token:
        """One token; `parameter` and `value` as the functions below put them."""
        return Token(parameter, self._secrets.blind(tenant, kind, parameter, value))


def name_prefix(folded: str) -> tuple[str, str] | None:
    """Return the token for names that begin with `folded`; None when that is too short."""
    if len(folded) < SHORT_PREFIX:
        return None
    return "name", folded[: LONG_PREFIX if len(folded) >= LONG_PREFIX else SHORT_PREFIX]


def identifier(system: str | None, value: str) -> tuple[str, str]:
    """Return the token for an identifier; in any system when `system` is None, without a system when it is empty.

    The value is matched without case, because most identifier systems do not define whether case matters
    (https://hl7.org/fhir/R4/search.html#token).
    """
    folded = value.casefold()
    return ("identifier", folded) if system is None else ("system-identifier", f"{system}|{folded}")


def birth_year(date: str) -> tuple[str, str]:
    """Return the token for people born in the year of a FHIR date."""
    return "birth-year", date[:4]


def subject(patient_id: str) -> tuple[str, str]:
    """Return the token for a patient's documents."""
    return "patient", patient_id


def names(resource: Resource, *parts: str) -> Iterator[str]:
    """The texts of a Patient's names: of these parts out of family, given, prefix, suffix, text."""
    for name in _objects(resource.get("name")):
        for part in parts:
            value = name.get(part)
            yield from (text for text in (value if isinstance(value, list) else [value]) if isinstance(text, str))


def identifiers(resource: Resource) -> Iterator[tuple[str, str]]:
    """System, empty when there is none, and value of a resource's identifiers."""
    for entry in _objects(resource.get("identifier")):
        value, system = entry.get("value"), entry.get("system")
        if isinstance(value, str):
            yield (system if isinstance(system, str) else ""), value


def patients(resource: Resource) -> Iterator[str]:
    """The id of the patient that a resource is about."""
    reference = resource.get("subject")
    target = reference.get("reference") if isinstance(reference, dict) else None
    if isinstance(target, str) and target.startswith(f"{PATIENT}/"):
        yield target.removeprefix(f"{PATIENT}/")


NAME_PARTS: Final = ("family", "given", "prefix", "suffix", "text")


def _patient(resource: Resource) -> Iterator[tuple[str, str]]:
    for text in names(resource, *NAME_PARTS):
        folded = fold(text)
        if folded:
            yield "name", folded[:SHORT_PREFIX]
        if len(folded) >= LONG_PREFIX:
            yield "name", folded[:LONG_PREFIX]
    for system, value in identifiers(resource):
        yield identifier(None, value)
        yield identifier(system, value)
    born = resource.get("birthDate")
    if isinstance(born, str):
        yield birth_year(born)


def _document(resource: Resource) -> Iterator[tuple[str, str]]:
    for patient_id in patients(resource):
        yield subject(patient_id)


def _objects(value: JsonValue) -> Iterator[dict[str, JsonValue]]:
    yield from (entry for entry in (value if isinstance(value, list) else ()) if isinstance(entry, dict))


LARGEST_BATCH: Final = 100  # DynamoDB's own limit
BATCH_ATTEMPTS: Final = 4


@dataclass(frozen=True, order=True)
class IndexEntry:
    """A record in the order of its last change: `updated` is the version's stamp as text."""

    updated: str
    id: str


class Index:
    """The ways into the records' table that are not by id, by the heads of one region. Every read raises StorageFault.

    `pause` waits a number of seconds.
    """

    def __init__(
        self, *, client: DynamoDB, table: str, region: str, pause: Callable[[float], None] = time.sleep
    ) -> None:
        self._client = client
        self._table = table
        self._region = region
        self._pause = pause

    def shelves(self, tenant: str, type: str) -> Sequence[str]:
        """The partitions of the index `by-update` that together list a tenant's records of a type."""
        return [shard(tenant, type, number, self._region) for number in range(UPDATE_SHARDS)]

    def ids(self, tenant: str, type: str, token: Token, *, after: str, limit: int) -> Sequence[str]:
        """At most `limit` ids of records that had the token in some version, ascending, after the id `after`."""
        condition, values = "pk = :pk", {":pk": {"S": token_pk(tenant, type, token)}}
        if after:
            condition += " AND sk > :after"
            values[":after"] = {"S": after}
        with translated("Query"):
            answer = self._client.query(
                TableName=self._table,
                KeyConditionExpression=condition,
                ExpressionAttributeValues=values,
                ConsistentRead=True,
                Limit=limit,
            )
        return [item["sk"]["S"] for item in answer["Items"]]

    def listed(self, shelf: str, *, low: str, high: str, ascending: bool, limit: int) -> Sequence[IndexEntry]:
        """At most `limit` items on one partition of the index `by-update`, between two stamps, both included."""
        with translated("Query"):
            answer = self._client.query(
                TableName=self._table,
                IndexName=UPDATE_INDEX,
                KeyConditionExpression="update_shard = :shelf AND updated BETWEEN :low AND :high",
                ExpressionAttributeValues={":shelf": {"S": shelf}, ":low": {"S": low}, ":high": {"S": high}},
                ScanIndexForward=ascending,
                Limit=limit,
            )
        return [IndexEntry(item["updated"]["S"], item["pk"]["S"].split("#")[2]) for item in answer["Items"]]

    def heads(self, keys: Sequence[RecordKey]) -> dict[RecordKey, Version]:
        """The heads of at most 100 records; those that have none are left out."""
        found: dict[RecordKey, Version] = {}
        head = {"S": head_sk(self._region)}
        wanted: list[dict[str, Any]] = [{"pk": {"S": pk(key)}, "sk": head} for key in dict.fromkeys(keys)]
        for attempt in range(BATCH_ATTEMPTS):
            if not wanted:
                return found
            if attempt:
                self._pause(random.uniform(0.01, 0.05) * attempt)  # noqa: S311 - spreads readers, guards nothing
            with translated("BatchGetItem"):
                answer = self._client.batch_get_item(
                    RequestItems={self._table: {"Keys": wanted, "ConsistentRead": True}}
                )
            versions = (version_in(item) for item in answer["Responses"].get(self._table, ()))
            found |= {version.key: version for version in versions}
            # What did not fit into one answer of 16 MB, or was more than the table could give at once.
            wanted = answer.get("UnprocessedKeys", {}).get(self._table, {}).get("Keys", [])
        if wanted:
            raise StorageFault(operation="BatchGetItem", code="UnprocessedKeys", throttled=True)
        return found
