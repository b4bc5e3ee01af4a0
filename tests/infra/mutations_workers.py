"""Damage to the functions that no client calls: their events, their roles, the key that both regions share."""

import json
from collections.abc import Iterator
from typing import Any

from healthcare_dr.naming import GLOBAL, PRIMARY, SECONDARY
from infra.mutations import (
    ALARM,
    Mutation,
    altered,
    copied,
    drop,
    of_resource,
    put,
    remove,
    statements,
    with_action,
    without,
)

REGIONAL = (PRIMARY, SECONDARY)
FUNCTION = "aws_lambda_function"
PERMISSION = "aws_lambda_permission"
POLICY = "aws_iam_policy"
KEY, REPLICA_KEY = "aws_kms_key", "aws_kms_replica_key"
EVENTS, MAPPING = "aws_s3_bucket_notification", "aws_lambda_event_source_mapping"
CALLS = "aws_lambda_function_event_invoke_config"
LIFT = {"StringEquals": {"s3:RequestObjectTag/quarantine": "false"}}


def worker_mutations() -> Iterator[Mutation]:
    for stack in REGIONAL:
        for worker in ("document_confirmation", "reconciliation", "sentinel"):
            for attribute, value in (
                ("timeout", 3),
                ("memory_size", 128),
                ("handler", "patient_api.handlers.api.handler"),
            ):
                damage = put(stack, FUNCTION, worker, attribute, value)
                yield Mutation(f"{stack}-{worker}-{attribute}", "worker-functions", damage, ("C3",))
            yield Mutation(f"{stack}-no-{worker}", "worker-functions", remove(stack, FUNCTION, worker), ("C3",))
            other_code = put(stack, FUNCTION, worker, "source_code_hash", "other")
            yield Mutation(f"{stack}-{worker}-code", "regions-carry-equal-load", other_code, (), (33,))
            plain = drop(stack, FUNCTION, worker, "kms_key_arn")
            yield Mutation(f"{stack}-{worker}-plain", "encrypted-at-rest", plain, ("C4",))
            logs = remove(stack, "aws_cloudwatch_log_group", f"{worker}_log_group")
            yield Mutation(f"{stack}-{worker}-logs", "log-groups", logs, ("C5",), (38,))
            for variable in ("INDEX_KEY_ALIAS", "PEER_ROLE_ARN"):
                unset = drop(stack, FUNCTION, worker, f"environment.variables.{variable}")
                yield Mutation(f"{stack}-{worker}-{variable}", "function-environment", unset, ("R2.4",))
            shared = put(stack, FUNCTION, worker, "role", "${aws_iam_role.api_role.arn}")
            yield Mutation(f"{stack}-{worker}-role", "role-for-each-function", shared, ("C6",))
        yield from _sweep_mutations(stack)
        yield from _failure_mutations(stack)
        yield from _watch_mutations(stack)
    for role in ("primary", "secondary"):
        yield from _event_mutations(role)
        for identifier, rule in (
            ("reconciliation_stream", "stream-reconciled"),
            ("tampering_stream", "tampering-watched"),
        ):
            yield from _stream_mutations(f"{identifier}_{role}", rule)
        again = copied(GLOBAL, MAPPING, f"reconciliation_stream_{role}", "second_reader")
        yield Mutation(f"{role}-second-reader", "stream-readers", again, ("R1.4",))


def privilege_mutations() -> Iterator[Mutation]:
    for stack in REGIONAL:
        for policy, sid, action in (
            ("patient_api", "Records", "dynamodb:UpdateItem"),
            ("patient_api", "Audit", "dynamodb:DeleteItem"),
            ("patient_api", "Documents", "s3:DeleteObjectVersion"),
            ("confirmation", "Records", "dynamodb:BatchWriteItem"),
            ("reconciliation", "Records", "dynamodb:Scan"),
            ("reconciliation", "Records", "dynamodb:PartiQLUpdate"),
        ):
            more = statements(stack, POLICY, f"{policy}_policy", "policy", with_action(sid, action))
            yield Mutation(f"{stack}-{policy}-{action}", "least-privilege", more, ("C6", "R1.3"), (1,))
        for policy, sid, action in (
            ("confirmation", "Audit", "dynamodb:Query"),
            ("reconciliation", "Records", "dynamodb:ConditionCheckItem"),
            ("reconciliation", "Stream", "dynamodb:GetItem"),
            ("documents_peer", "Documents", "dynamodb:GetItem"),
        ):
            more = statements(stack, POLICY, f"{policy}_policy", "policy", with_action(sid, action))
            yield Mutation(f"{stack}-{policy}-{sid}-{action}", "table-privileges", more, ("C6",))
        for policy, sid in (("patient_api", "Records"), ("confirmation", "Audit"), ("reconciliation", "Stream")):
            less = statements(stack, POLICY, f"{policy}_policy", "policy", without(sid))
            yield Mutation(f"{stack}-{policy}-without-{sid}", "table-privileges", less, ("C6",))
        deaf = altered("Stream", lambda s: s["Resource"].pop())
        damage = statements(stack, POLICY, "reconciliation_policy", "policy", deaf)
        yield Mutation(f"{stack}-reconciliation-deaf-to-audit", "table-privileges", damage, ("C6", "R1.3"))
        yield from _tag_mutations(stack)
        loose = remove(stack, "aws_iam_role_policy_attachment", "reconciliation_permissions")
        yield Mutation(f"{stack}-unattached", "table-privileges", loose, ("C6",))
        one_peer = altered("TrustPeer", lambda s: s["Condition"]["ArnEquals"]["aws:PrincipalArn"].pop())
        damage = statements(stack, "aws_iam_role", "documents_peer_role", "assume_role_policy", one_peer)
        yield Mutation(f"{stack}-untrusted-confirmation", "trust-across-regions", damage, ("R2.3",))
        for sid in ("ConfirmationRole", "ReconciliationRole"):
            damage = statements(stack, KEY, "data_key", "policy", without(sid))
            yield Mutation(f"{stack}-{sid}", "key-admits-region", damage, ("R5.2",))
            narrow = altered(sid, lambda s: s["Condition"]["StringEquals"]["kms:ViaService"].pop())
            damage = statements(stack, KEY, "data_key", "policy", narrow)
            yield Mutation(f"{stack}-{sid}-silent", "key-admits-region", damage, ("R5.2", "R7.1"))


def index_key_mutations() -> Iterator[Mutation]:
    for name, damage in (
        ("single-region", put(GLOBAL, KEY, "index_key", "multi_region", False)),
        ("other-spec", put(GLOBAL, KEY, "index_key", "customer_master_key_spec", "HMAC_512")),
        ("rotated", put(GLOBAL, KEY, "index_key", "enable_key_rotation", True)),
        ("elsewhere", put(GLOBAL, KEY, "index_key", "provider", "aws.secondary")),
        ("alone", remove(GLOBAL, REPLICA_KEY)),
        ("of-another", put(GLOBAL, REPLICA_KEY, "index_key_replica", "primary_key_arn", "${data.aws_kms_alias.x.arn}")),
        ("slow-end", drop(GLOBAL, REPLICA_KEY, "index_key_replica", "deletion_window_in_days")),
        ("unnamed", remove(GLOBAL, "aws_kms_alias", "index_key_alias_secondary")),
        ("misnamed", put(GLOBAL, "aws_kms_alias", "index_key_alias_primary", "name", "alias/other-dev")),
    ):
        yield Mutation(f"index-key-{name}", "index-key", damage, ("C6",))
    # What encrypts must be rotated, whatever it says it is for.
    encrypts = put(GLOBAL, KEY, "index_key", "key_usage", "ENCRYPT_DECRYPT")
    yield Mutation("index-key-encrypts", "key-per-region", encrypts, ("R5.1",))
    for kind, name in ((KEY, "index_key"), (REPLICA_KEY, "index_key_replica")):
        for sid, change in (
            ("Derivation", lambda s: s["Principal"]["AWS"].append("arn:aws:iam::123456789012:role/other")),
            ("Derivation", lambda s: s["Principal"]["AWS"].pop()),
            ("Derivation", lambda s: s["Action"].append("kms:VerifyMac")),
            ("Administration", lambda s: s["Action"].append("kms:GenerateMac")),
        ):
            damage = statements(GLOBAL, kind, name, "policy", altered(sid, change))
            yield Mutation(f"{name}-{sid}", "index-key-users", damage, ("C6", "R5.2"))
        used = statements(GLOBAL, kind, name, "policy", with_action("Administration", "kms:GenerateMac"))
        yield Mutation(f"{name}-used-by-account", "key-policy-least-privilege", used, ("C6",))


def _sweep_mutations(stack: str) -> Iterator[Mutation]:
    rule, target = "aws_cloudwatch_event_rule", "aws_cloudwatch_event_target"
    for name, damage in (
        ("slow", put(stack, rule, "sweep_rule", "schedule_expression", "rate(1 hour)")),
        ("off", put(stack, rule, "sweep_rule", "state", "DISABLED")),
        ("none", remove(stack, target, "sweep_target")),
        ("unsaid", drop(stack, target, "sweep_target", "input")),
        ("forbidden", remove(stack, PERMISSION, "sweep_permission")),
        ("by-anyone", drop(stack, PERMISSION, "sweep_permission", "source_arn")),
    ):
        yield Mutation(f"{stack}-sweep-{name}", "document-sweep", damage, ("C3",), (15,))
    unnamed = put(stack, rule, "sweep_rule", "name", "healthcare-dr-sweep")
    yield Mutation(f"{stack}-sweep-name", "names", unnamed, ("D7",))


def _failure_mutations(stack: str) -> Iterator[Mutation]:
    for name, damage in (
        ("none", remove(stack, CALLS)),
        ("once", put(stack, CALLS, "document_confirmation_calls", "maximum_retry_attempts", 0)),
        ("untold", drop(stack, CALLS, "document_confirmation_calls", "destination_config")),
        ("ageless", drop(stack, CALLS, "document_confirmation_calls", "maximum_event_age_in_seconds")),
    ):
        yield Mutation(f"{stack}-calls-{name}", "async-failures", damage, ("C5", "R7.1"))
    for worker in ("confirmation", "reconciliation"):
        mute = statements(stack, POLICY, f"{worker}_policy", "policy", without("Failures"))
        yield Mutation(f"{stack}-{worker}-mute", "workers-report-failures", mute, ("R7.1",))
        keyless = altered("Key", lambda s: s["Condition"]["StringEquals"]["kms:ViaService"].pop())
        damage = statements(stack, POLICY, f"{worker}_policy", "policy", keyless)
        yield Mutation(f"{stack}-{worker}-keyless", "workers-report-failures", damage, ("R7.1",), (17,))


def _watch_mutations(stack: str) -> Iterator[Mutation]:
    for name in ("conflicts", "tampered_items", "documents_pending", "documents_quarantined",
                 "document_confirmation_errors", "reconciliation_errors", "reconciliation_lag"):  # fmt: skip
        yield Mutation(f"{stack}-{name}", "alarm-coverage", remove(stack, ALARM, name), ("R6.2",))
    for name in ("documents_pending", "reconciliation_lag"):
        late = put(stack, ALARM, name, "threshold", 900_000)
        yield Mutation(f"{stack}-{name}-late", "alarm-coverage", late, ("R6.2", "C3"))
    for name in ("conflicts", "tampered_items", "documents_quarantined"):
        for attribute, value in (("threshold", 1), ("statistic", "Average")):
            late = put(stack, ALARM, name, attribute, value)
            yield Mutation(f"{stack}-{name}-{attribute}", "alarm-coverage", late, ("R6.2", "C6"))
    deaf = put(stack, "aws_cloudwatch_composite_alarm", "integrity_at_risk", "alarm_rule", "FALSE")
    yield Mutation(f"{stack}-integrity-deaf", "alarm-coverage", deaf, ("R6.2",))


def _event_mutations(role: str) -> Iterator[Mutation]:
    stack, name = (PRIMARY if role == "primary" else SECONDARY), f"replication_events_{role}"
    for what, damage in (
        ("unheard", drop(GLOBAL, EVENTS, name, "lambda_function")),
        ("everything", drop(GLOBAL, EVENTS, name, "lambda_function.filter_prefix")),
        ("removals", put(GLOBAL, EVENTS, name, "lambda_function.events", ["s3:ObjectRemoved:*"])),
        ("forbidden", remove(stack, PERMISSION, "documents_permission")),
        ("any-account", drop(stack, PERMISSION, "documents_permission", "source_account")),
        ("any-bucket", drop(stack, PERMISSION, "documents_permission", "source_arn")),
    ):
        yield Mutation(f"{role}-events-{what}", "document-events", damage, ("C3",))
    bucket_policy = ("aws_s3_bucket_policy", f"documents_{role}_policy", "policy")
    for what, change in (
        ("open", without("RefuseQuarantined")),
        ("latest-only", altered("RefuseQuarantined", lambda s: s["Action"].pop())),
        ("peer-may", altered("RefuseQuarantined", lambda s: s["Condition"]["ArnEquals"]["aws:PrincipalArn"].pop())),
        ("allowed", altered("RefuseQuarantined", lambda s: s.update(Effect="Allow"))),
    ):
        yield Mutation(f"{role}-quarantine-{what}", "quarantine", statements(GLOBAL, *bucket_policy, change), ("C6",))


def _stream_mutations(name: str, rule: str) -> Iterator[Mutation]:
    everything = {"filter": [{"pattern": "{}"}]}
    more = {"filter": [{"pattern": json.dumps({"dynamodb": {"Keys": {"sk": {"S": ["head", {"prefix": "v#"}]}}}})}]}
    arrivals = {"filter": [{"pattern": json.dumps({"eventName": ["INSERT", "MODIFY", "REMOVE"]})}]}
    fewer = {"filter": [{"pattern": json.dumps({"eventName": ["REMOVE"]})}]}
    for number, (attribute, value) in enumerate(
        (
            ("starting_position", "LATEST"),
            ("bisect_batch_on_function_error", False),
            ("function_response_types", []),
            ("maximum_retry_attempts", 100),
            ("maximum_record_age_in_seconds", 3600),
            ("maximum_record_age_in_seconds", 86400),
            ("event_source_arn", "${aws_dynamodb_table.other.stream_arn}"),
            ("function_name", "healthcare-dr-patient-api-dev"),
            ("filter_criteria", everything),
            ("filter_criteria", more),
            ("filter_criteria", arrivals),
            ("filter_criteria", fewer),
        )
    ):
        damage = put(GLOBAL, MAPPING, name, attribute, value)
        yield Mutation(f"{name}-{attribute}-{number}", rule, damage, ("C3", "R1.4"), (1,))
    for attribute in ("maximum_retry_attempts", "maximum_record_age_in_seconds", "destination_config",
                      "filter_criteria"):  # fmt: skip
        unset = drop(GLOBAL, MAPPING, name, attribute)
        yield Mutation(f"{name}-no-{attribute}", rule, unset, ("C3", "R1.4"), (1,))
    for what, damage in (
        ("unread", remove(GLOBAL, MAPPING, name)),
        ("told-elsewhere", of_resource(GLOBAL, MAPPING, name, _tell_the_other_region)),
    ):
        yield Mutation(f"{name}-{what}", rule, damage, ("C3",), (1,))


def _tag_mutations(stack: str) -> Iterator[Mutation]:
    for policy in ("confirmation", "documents_peer"):
        for what, change in (
            ("any", altered("Quarantine", lambda s: s.pop("Condition"))),
            ("lifted", altered("Quarantine", lambda s: s.update(Condition=LIFT))),
            ("with-documents", with_action("Documents", "s3:PutObjectTagging")),
            ("removed", with_action("Quarantine", "s3:DeleteObjectTagging")),
        ):
            damage = statements(stack, POLICY, f"{policy}_policy", "policy", change)
            yield Mutation(f"{stack}-{policy}-tags-{what}", "quarantine-stays", damage, ("C6",))


def _tell_the_other_region(body: dict[str, Any]) -> None:
    destination = body["destination_config"]["on_failure"]
    one, other = "us-east-1", "us-west-2"
    arn = destination["destination_arn"]
    destination["destination_arn"] = arn.replace(one, other) if one in arn else arn.replace(other, one)
