"""`hdr cost`: what the stacks contain, what traffic uses, and files of prices."""

from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from typer.testing import CliRunner

from healthcare_dr.cli import app
from healthcare_dr.errors import SettingsError
from healthcare_dr.ops.capacity import free_rate
from healthcare_dr.ops.cost import Estimate, Traffic, by_service, estimate, inventory, load_prices, print_estimate, usd
from patient_api.contract.metrics import Metric

CHECK = {"type": "HTTPS", "request_interval": 10, "measure_latency": True, "resource_path": "/health"}
STACKS: dict[str, Any] = {
    "one": {
        "resource": {
            "aws_route53_zone": {"a": {}},
            "aws_route53_health_check": {
                "a": CHECK,
                "b": CHECK | {"resource_path": "/quiet/health"},
                "c": {"type": "CALCULATED"},
            },
            "aws_kms_key": {"a": {}, "b": {}},
            "aws_kms_replica_key": {"a": {}},
            "aws_cloudwatch_metric_alarm": {
                "a": {"metric_name": "Healthy", "namespace": "HealthcareDR", "dimensions": {"service": "patient-api"}},
                "b": {"metric_name": "Healthy", "namespace": "HealthcareDR", "dimensions": {"service": "patient-api"}},
                "c": {"metric_name": "Errors", "namespace": "AWS/Lambda"},
            },
            "aws_cloudwatch_composite_alarm": {"a": {}},
            "aws_cloudwatch_log_group": {
                "a": {"name": "/aws/lambda/healthcare-dr-patient-api-dev", "retention_in_days": 365},
                "b": {"name": "/healthcare-dr/access-dev", "retention_in_days": 730},
            },
            "aws_apigatewayv2_stage": {
                "a": {
                    "name": "$default",
                    "access_log_settings": {"format": "{}"},
                    "default_route_settings": {"throttling_rate_limit": 200},
                },
                "b": {"name": "quiet"},
            },
            "aws_s3_bucket_replication_configuration": {"a": {}, "b": {}},
            "aws_fis_experiment_template": {"a": {"action": [{}]}, "b": {"action": [{}, {}, {}]}},
        }
    },
    "two": {"resource": {"aws_cloudwatch_dashboard": {"a": {}}}},
}


def estimated(**traffic: float) -> Estimate:
    return estimate(STACKS, Traffic(**traffic), load_prices())


def test_inventory_counts_what_costs_something() -> None:
    found = inventory(STACKS)
    assert (found.zones, found.health_checks, found.keys) == (1, 3, 3)
    assert (found.https_checks, found.fast_checks, found.latency_checks) == (2, 2, 2)
    assert (found.checked_per_second, found.logged_per_second) == pytest.approx((0.2, 0.1))
    assert (found.alarms, found.composite_alarms, found.dashboards, found.metrics) == (3, 1, 1, 2 * len(Metric))
    assert (found.fault_actions, found.replication_rules) == (3, 2)
    assert found.function_log_months == pytest.approx(12)
    assert found.access_log_months == pytest.approx(24)


def test_idle_platform_costs_health_checks_keys_and_alarms() -> None:
    idle = estimated().idle
    found = {(line.service, line.what): line for line in idle}
    # Two endpoints, 15 checkers, every 10 s, in 30.4 days.
    assert found["API Gateway", "requests of health checkers"].quantity == pytest.approx(7.884)
    assert found["Route 53", "checks each 10 s"].usd == pytest.approx(2)
    # 500 bytes each, and only one of the endpoints is in the access log.
    assert found["CloudWatch", "log of the function"].quantity == pytest.approx(7.884 / 2)
    assert found["CloudWatch", "access log"].quantity == pytest.approx(7.884 / 4)
    assert found["KMS", "keys"].usd == pytest.approx(3)
    assert found["CloudWatch", "alarms"].usd == pytest.approx(0.3)
    assert usd(estimated().traffic) == 0


def test_traffic_costs_in_proportion() -> None:
    one, two = estimated(requests=1e6), estimated(requests=2e6)
    assert usd(one.idle) == usd(two.idle)
    assert usd(two.traffic) == pytest.approx(2 * usd(one.traffic))
    assert usd(one.traffic) == pytest.approx(usd(one.million))


def test_writes_cost_more_than_reads() -> None:
    # 29 units in both regions against 2 of the audit item in both, and one that is read.
    writes = by_service(estimated(requests=1e6, write_share=1).traffic)["DynamoDB"]
    reads = by_service(estimated(requests=1e6, write_share=0).traffic)["DynamoDB"]
    assert writes == pytest.approx(29 * 2 * 0.625)
    assert reads == pytest.approx(2 * 2 * 0.625 + 0.125)


@pytest.mark.parametrize(
    "traffic",
    [{"documents": 1000.0}, {"records_gb": 1.0}, {"documents_gb": 1.0}, {"drills": 1.0}, {"requests": 1000.0}],
)
def test_each_part_of_the_traffic_costs(traffic: dict[str, float]) -> None:
    assert usd(estimated(**traffic).traffic) > 0


def test_drill_costs_the_faults_and_the_requests_of_its_clients() -> None:
    drill = by_service(estimated().drill)
    assert drill["Fault Injection Service"] == pytest.approx(3 * 5 * 0.10)
    assert drill["API Gateway"] == pytest.approx(0.005)


def test_first_deployment_costs_the_throughput_that_the_rate_requires_in_both_regions() -> None:
    # 200 updates a second write 4,800 units to the records, 800 more than a new table serves; 200 pages write 3,600.
    assert usd(estimated().once) == pytest.approx(2 * 800 * 0.00065)
    assert estimated().total == pytest.approx(usd(estimated().idle)), "it is not a cost of each month"
    assert estimated().document()["once"]["usd"] == 1.04


def test_rate_that_new_tables_serve_costs_nothing_once() -> None:
    limits = {"throttling_rate_limit": free_rate()}
    free = {
        "one": {"resource": {"aws_apigatewayv2_stage": {"a": {"name": "$default", "default_route_settings": limits}}}}
    }
    assert usd(estimate(free, Traffic(), load_prices()).once) == 0
    limits["throttling_rate_limit"] += 1
    assert usd(estimate(free, Traffic(), load_prices()).once) > 0


def test_slower_health_checks_cost_less() -> None:
    assert estimated().settings["HDR_HEALTH_CHECK_INTERVAL=30"] < -2


def test_estimate_is_printed_with_what_a_setting_changes() -> None:
    found, text = estimated(requests=1_000_000.0), StringIO()
    print_estimate(Console(file=text, width=120), found)
    saved = -found.settings["HDR_HEALTH_CHECK_INTERVAL=30"]
    assert f"This month: ${found.total:,.2f} (idle and this traffic)." in text.getvalue()
    assert f"HDR_HEALTH_CHECK_INTERVAL=30 lowers the idle cost by ${saved:,.2f}." in text.getvalue()


def test_checks_that_are_slow_already_cannot_be_slowed_further() -> None:
    slow = {"one": {"resource": {"aws_route53_health_check": {"a": CHECK | {"request_interval": 30}}}}}
    assert estimate(slow, Traffic(), load_prices()).settings == {}


def test_prices_of_a_file_replace_the_defaults(tmp_path: Path) -> None:
    file = tmp_path / "prices.yaml"
    file.write_text("date: 2026-11-01\nprices: {kms_key: {unit: key, usd: 2.0, source: our contract}}\n")
    found = load_prices(file)
    assert found.prices["kms_key"].usd == 2
    assert found.prices["route53_zone"] == load_prices().prices["route53_zone"]
    assert str(found.date) == "2026-11-01"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("prices: {kms: {usd: 1.0}}", "prices has no kms; it has apigateway_requests"),
        ("assumptions: {speed: {value: 1.0, why: x}}", "assumptions has no speed; it has"),
        ("price: {}", "price is not one of date, prices, assumptions"),
        ("prices: {kms_key: {unit: key, usd: -1.0, source: x}}", "prices.kms_key.usd"),
        ("prices: {kms_key: 3}", "prices.kms_key"),
        ("prices: 3", "prices must be a mapping of names"),
        ("[1]", "must hold a mapping"),
        ("prices: [1]", "prices must be a mapping of names"),
        ("a: [", "is not a file of prices"),
    ],
)
def test_wrong_file_of_prices_gets_one_line(text: str, problem: str, tmp_path: Path) -> None:
    file = tmp_path / "prices.yaml"
    file.write_text(text)
    with pytest.raises(SettingsError) as raised:
        load_prices(file)
    assert problem in str(raised.value)
    assert "\n" not in str(raised.value)


def test_missing_file_of_prices_ends_the_command_before_the_synthesis(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["cost", "--prices", str(tmp_path / "none.yaml")])
    assert result.exit_code == 2
    assert "none.yaml cannot be read" in result.stderr
