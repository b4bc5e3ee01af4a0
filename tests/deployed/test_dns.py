"""DNS and health checks of the deployed zone while both regions are healthy."""

import dns.flags
import dns.message
import dns.query
import dns.rcode
import pytest

from support.platform import REGIONS, Deployed, eventually
from support.traffic import regions_in_dns

PRIMARY = REGIONS[0]
ANSWER_SECONDS = 10


@pytest.mark.requirement("R4.1")
def test_dns_answers_with_both_regions(deployed: Deployed) -> None:
    eventually(lambda: regions_in_dns(deployed) == set(REGIONS))


def test_responses_of_the_zone_are_authoritative(deployed: Deployed) -> None:
    host, port = deployed.emulator.dns()
    soa = dns.message.make_query(deployed.names.domain, "SOA")
    answer = dns.query.tcp(soa, host, port=port, timeout=ANSWER_SECONDS)
    assert answer.flags & dns.flags.AA
    absent = dns.message.make_query(f"no.{deployed.names.domain}", "A")
    unknown = dns.query.udp(absent, host, port=port, timeout=ANSWER_SECONDS)
    assert unknown.rcode() == dns.rcode.NXDOMAIN


@pytest.mark.trap(22)
def test_route53_publishes_its_metrics_in_us_east_1(deployed: Deployed) -> None:
    metrics = deployed.client("cloudwatch", "us-east-1")
    dimension = [{"Name": "HealthCheckId", "Value": deployed.outputs()["HealthCheckPrimary"]}]

    def published() -> bool:
        found = metrics.list_metrics(Namespace="AWS/Route53", MetricName="HealthCheckStatus", Dimensions=dimension)
        return bool(found["Metrics"])

    eventually(published)


def test_every_checker_region_reports_observations(deployed: Deployed) -> None:
    route53 = deployed.client("route53")
    (endpoint,) = [
        check["Id"]
        for check in route53.list_health_checks()["HealthChecks"]
        if check["HealthCheckConfig"].get("ResourcePath") == "/probes/health"
        and PRIMARY in check["HealthCheckConfig"]["FullyQualifiedDomainName"]
    ]

    def healthy() -> bool:
        observations = route53.get_health_check_status(HealthCheckId=endpoint)["HealthCheckObservations"]
        return len(observations) >= 3 and all(
            seen["StatusReport"]["Status"].startswith("Success: HTTP Status Code 200") for seen in observations
        )

    eventually(healthy)
