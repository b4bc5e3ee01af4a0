"""Read zones, records and health checks through the API of Route 53."""

from collections.abc import Iterator, Mapping
from typing import Any

from healthcare_dr.emulator.route53.model import CheckConfig, Record, Snapshot, Zone, plain_name


class ZoneReader:
    """Reads the present snapshot when called. Raises the errors of botocore.

    Args:
        client: boto3's client for Route 53.
    """

    def __init__(self, client: Any) -> None:
        self._client = client
        self._names: dict[str, str] = {}

    def __call__(self) -> Snapshot:
        """Return all zones and checks, from all pages."""
        zones = tuple(
            Zone(id=zone["Id"], name=plain_name(zone["Name"]), records=tuple(self._records(zone["Id"])))
            for zone in self._pages("list_hosted_zones", "HostedZones")
            if not zone.get("Config", {}).get("PrivateZone")  # visible only inside its networks
        )
        found = list(self._pages("list_health_checks", "HealthChecks"))
        # Terraform adds the tags after it has created a check: a missing name is read again.
        self._names = {check["Id"]: self._names.get(check["Id"]) or self._name(check["Id"]) for check in found}
        checks = (check_of(check["Id"], self._names[check["Id"]], check["HealthCheckConfig"]) for check in found)
        return Snapshot(zones=zones, checks={check.id: check for check in checks})

    def _pages(self, operation: str, key: str, **arguments: str) -> Iterator[Any]:
        for page in self._client.get_paginator(operation).paginate(**arguments):
            yield from page[key]

    def _records(self, zone_id: str) -> Iterator[Record]:
        for found in self._pages("list_resource_record_sets", "ResourceRecordSets", HostedZoneId=zone_id):
            # An alias record has no values; the platform has none.
            if "ResourceRecords" in found:
                yield record_of(found)

    def _name(self, check_id: str) -> str:
        answer = self._client.list_tags_for_resource(ResourceType="healthcheck", ResourceId=check_id)
        return next((str(tag["Value"]) for tag in answer["ResourceTagSet"]["Tags"] if tag["Key"] == "Name"), "")


def record_of(found: Mapping[str, Any]) -> Record:
    """Return the record of a `ResourceRecordSet` of the API."""
    return Record(
        name=plain_name(found["Name"]),
        type=found["Type"],
        ttl=int(found["TTL"]),
        values=tuple(value["Value"] for value in found["ResourceRecords"]),
        set_identifier=found.get("SetIdentifier"),
        weight=found.get("Weight"),
        check_id=found.get("HealthCheckId"),
    )


def check_of(check_id: str, name: str, config: Mapping[str, Any]) -> CheckConfig:
    """Return the check of a `HealthCheckConfig` of the API; `name` is from its tag."""
    return CheckConfig(
        id=check_id,
        type=config["Type"],
        name=name,
        host=config.get("FullyQualifiedDomainName", ""),
        ip=config.get("IPAddress"),
        port=config.get("Port", 443 if config["Type"].startswith("HTTPS") else 80),
        path=config.get("ResourcePath") or "/",
        interval=config.get("RequestInterval", 30),
        threshold=config.get("FailureThreshold", 3),
        inverted=config.get("Inverted", False),
        sni=config.get("EnableSNI", False),
        search=config.get("SearchString"),
        children=tuple(config.get("ChildHealthChecks", ())),
        child_threshold=config.get("HealthThreshold", 0),
        disabled=config.get("Disabled", False),
    )
