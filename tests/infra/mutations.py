"""Ways to damage the synthesized JSON, one for each thing that a rule guards."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from healthcare_dr.infra.lint import RULES
from healthcare_dr.infra.lint.model import Platform
from healthcare_dr.naming import GLOBAL, PRIMARY, SECONDARY
from healthcare_dr.settings import Settings

Documents = dict[str, dict[str, Any]]
Damage = Callable[[Documents], object]


@dataclass(frozen=True)
class Mutation:
    """One damage, the rule that must see it, and what the damage would break."""

    name: str
    rule: str
    damage: Damage
    requirements: tuple[str, ...] = ()
    traps: tuple[int, ...] = ()

    def is_found(self, damaged: Documents, settings: Settings) -> bool:
        """Return whether its rule finds it. Running all rules would take thirty times as long."""
        return bool(list(RULES[self.rule].examine(Platform(damaged, settings))))


def res(stack: str, kind: str, name: str) -> Callable[[Documents], dict[str, Any]]:
    return lambda documents: documents[stack]["resource"][kind][name]


def first(value: Any) -> Any:
    return value[0] if isinstance(value, list) else value


def walk(body: dict[str, Any], path: str) -> tuple[dict[str, Any], str]:
    *steps, last = path.split(".")
    node = body
    for step in steps:
        node = first(node[step])
    return node, last


def put(stack: str, kind: str, name: str, path: str, value: Any) -> Damage:
    def damage(documents: Documents) -> None:
        node, last = walk(res(stack, kind, name)(documents), path)
        node[last] = value

    return damage


def drop(stack: str, kind: str, name: str, path: str) -> Damage:
    def damage(documents: Documents) -> None:
        node, last = walk(res(stack, kind, name)(documents), path)
        del node[last]

    return damage


def remove(stack: str, kind: str, *names: str) -> Damage:
    def damage(documents: Documents) -> None:
        for name in names or list(documents[stack]["resource"][kind]):
            del documents[stack]["resource"][kind][name]

    return damage


def add(stack: str, kind: str, name: str, body: dict[str, Any]) -> Damage:
    return lambda documents: documents[stack]["resource"].setdefault(kind, {}).update({name: body})


def copied(stack: str, kind: str, name: str, copy: str) -> Damage:
    def damage(documents: Documents) -> None:
        found = documents[stack]["resource"][kind]
        found[copy] = dict(found[name])

    return damage


def statements(stack: str, kind: str, name: str, attribute: str, change: Callable[[list[Any]], object]) -> Damage:
    def damage(documents: Documents) -> None:
        body = res(stack, kind, name)(documents)
        document = json.loads(body[attribute])
        change(document["Statement"])
        body[attribute] = json.dumps(document)

    return damage


def without(sid: str) -> Callable[[list[Any]], object]:
    def change(found: list[Any]) -> None:
        index = next(number for number, statement in enumerate(found) if statement["Sid"] == sid)
        del found[index]

    return change


def altered(sid: str, change: Callable[[dict[str, Any]], object]) -> Callable[[list[Any]], object]:
    return lambda found: change(next(statement for statement in found if statement["Sid"] == sid))


def swap(stack: str, kind: str, one: str, other: str, attribute: str) -> Damage:
    def damage(documents: Documents) -> None:
        first_body, second_body = (res(stack, kind, name)(documents) for name in (one, other))
        first_body[attribute], second_body[attribute] = second_body[attribute], first_body[attribute]

    return damage


def with_action(sid: str, *actions: str) -> Callable[[list[Any]], object]:
    return lambda found: next(s for s in found if s["Sid"] == sid)["Action"].extend(actions)


def of_stack(stack: str, change: Callable[[dict[str, Any]], object]) -> Damage:
    return lambda documents: change(documents[stack])


def of_provider(stack: str, change: Callable[[dict[str, Any]], object]) -> Damage:
    return lambda documents: change(documents[stack]["provider"]["aws"][-1])


def of_resource(stack: str, kind: str, name: str, change: Callable[[dict[str, Any]], object]) -> Damage:
    return lambda documents: change(res(stack, kind, name)(documents))


def move_to_secondary(kind: str, name: str) -> Damage:
    def damage(documents: Documents) -> None:
        res(GLOBAL, kind, name)(documents)["provider"] = "aws.secondary"

    return damage


def everywhere(*damages: Damage) -> Damage:
    def damage(documents: Documents) -> None:
        for each in damages:
            each(documents)

    return damage


def foreign_key(table: str, path: str) -> Damage:
    return put(GLOBAL, "aws_dynamodb_table", table, path, "${data.aws_kms_alias.data_key_primary.target_key_arn}")


REPLICATION = "aws_s3_bucket_replication_configuration"
CHECK = "aws_route53_health_check"
ALARM = "aws_cloudwatch_metric_alarm"


def data_mutations() -> Iterator[Mutation]:
    for table in ("patient_records", "audit_logs"):
        requirement = "R1.2" if table == "patient_records" else "R1.3"
        kind = "aws_dynamodb_table"
        yield Mutation(f"{table}-missing", "table-single-owner", remove(GLOBAL, kind, table), (requirement,))
        yield Mutation(f"{table}-alone", "table-replica", drop(GLOBAL, kind, table, "replica"), ("R1.1", "C3"))
        yield Mutation(
            f"{table}-pitr",
            "table-recovery",
            put(GLOBAL, kind, table, "point_in_time_recovery.enabled", False),
            ("R1.4",),
        )
        yield Mutation(
            f"{table}-replica-pitr", "table-recovery", drop(GLOBAL, kind, table, "replica.point_in_time_recovery"),
            ("R1.4", "C6"), (4,),
        )  # fmt: skip
        yield Mutation(
            f"{table}-stream", "table-stream", put(GLOBAL, kind, table, "stream_view_type", "NEW_IMAGE"), ("R1.4",)
        )
        yield Mutation(f"{table}-replica-key", "table-keys", foreign_key(table, "replica.kms_key_arn"), ("C4",), (5,))
        yield Mutation(f"{table}-no-key", "table-keys", drop(GLOBAL, kind, table, "server_side_encryption"), ("C4",))
        yield Mutation(
            f"{table}-tags",
            "table-replica-tags",
            put(GLOBAL, kind, table, "replica.propagate_tags", False),
            ("R9.1",),
            (6,),
        )
        yield Mutation(
            f"{table}-protected", "destroyable", put(GLOBAL, kind, table, "deletion_protection_enabled", True), ("D6",)
        )
        yield Mutation(f"{table}-hot", "table-sharded-index", put(GLOBAL, kind, table, "hash_key", "tenant"), (), (9,))
    yield Mutation(
        "second-owner", "table-single-owner",
        lambda d: d[SECONDARY]["resource"].update(
            aws_dynamodb_table={"copy": dict(res(GLOBAL, "aws_dynamodb_table", "patient_records")(d))}
        ),
        ("R1.1",), (8,),
    )  # fmt: skip


def document_mutations() -> Iterator[Mutation]:
    for role, own in (("primary", "primary"), ("secondary", "secondary")):
        name, bucket = f"replication_{role}", f"documents_{own}"
        rule = "rule.source_selection_criteria"
        yield Mutation(f"{role}-one-way", "replication-both-ways", remove(GLOBAL, REPLICATION, name), ("R3.1",), (13,))
        yield Mutation(
            f"{role}-off", "replication-both-ways", put(GLOBAL, REPLICATION, name, "rule.status", "Disabled"), ("R3.1",)
        )
        yield Mutation(
            f"{role}-sse", "replication-encrypted-objects",
            drop(GLOBAL, REPLICATION, name, f"{rule}.sse_kms_encrypted_objects"), (), (10,),
        )  # fmt: skip
        yield Mutation(
            f"{role}-modifications", "replication-both-ways",
            put(GLOBAL, REPLICATION, name, f"{rule}.replica_modifications.status", "Disabled"), (), (13,),
        )  # fmt: skip
        yield Mutation(
            f"{role}-key", "replication-replica-key",
            put(GLOBAL, REPLICATION, name, "rule.destination.encryption_configuration.replica_kms_key_id",
                f"${{data.aws_kms_alias.data_key_{role}.target_key_arn}}"),
            ("R5.2",), (11,),
        )  # fmt: skip
        yield Mutation(
            f"{role}-markers", "replication-delete-markers",
            put(GLOBAL, REPLICATION, name, "rule.delete_marker_replication.status", "Disabled"), (), (14,),
        )  # fmt: skip
        yield Mutation(
            f"{role}-rtc", "replication-time-control",
            drop(GLOBAL, REPLICATION, name, "rule.destination.replication_time"), ("R6.1",), (15,),
        )  # fmt: skip
        yield Mutation(
            f"{role}-events", "replication-time-control",
            remove(GLOBAL, "aws_s3_bucket_notification", f"replication_events_{role}"), ("C3",), (15,),
        )  # fmt: skip
        yield Mutation(
            f"{role}-too-early", "replication-waits-for-versioning",
            of_resource(GLOBAL, REPLICATION, name, lambda body: body["depends_on"].pop(0)), ("R3.2", "D5"),
        )  # fmt: skip
        yield Mutation(
            f"{role}-before-permission", "replication-role",
            of_resource(GLOBAL, REPLICATION, name, lambda body: body["depends_on"].pop()), ("R3.1",),
        )  # fmt: skip
        yield Mutation(
            f"{role}-some", "replication-both-ways", put(GLOBAL, REPLICATION, name, "rule.filter.prefix", "x/"),
            ("R3.1",),
        )  # fmt: skip
        for sid in ("DecryptSource", "EncryptReplicas", "ReadSource", "ReadVersions", "WriteReplicas"):
            yield Mutation(
                f"{role}-{sid}", "replication-role",
                statements(GLOBAL, "aws_iam_role_policy", f"replication_policy_{role}", "policy", without(sid)),
                ("R5.2",), (12,),
            )  # fmt: skip
        yield from bucket_mutations(GLOBAL, bucket)
    yield from bucket_mutations(PRIMARY, "trail_bucket")


def bucket_mutations(stack: str, bucket: str) -> Iterator[Mutation]:
    yield Mutation(
        f"{stack}-{bucket}-versions", "bucket-versioning",
        put(stack, "aws_s3_bucket_versioning", f"{bucket}_versioning", "versioning_configuration.status", "Suspended"),
        ("R3.2", "D5"),
    )  # fmt: skip
    yield Mutation(
        f"{stack}-{bucket}-force", "bucket-destroyable", put(stack, "aws_s3_bucket", bucket, "force_destroy", False),
        ("R3.4", "D6"),
    )  # fmt: skip
    encryption = "aws_s3_bucket_server_side_encryption_configuration"
    algorithm = "rule.apply_server_side_encryption_by_default.sse_algorithm"
    yield Mutation(
        f"{stack}-{bucket}-aes", "bucket-encryption", put(stack, encryption, f"{bucket}_encryption", algorithm,
        "AES256"),
        ("R3.3", "C4"),
    )  # fmt: skip
    yield Mutation(
        f"{stack}-{bucket}-bucket-key", "bucket-encryption",
        put(stack, encryption, f"{bucket}_encryption", "rule.bucket_key_enabled", False), (), (12,),
    )  # fmt: skip
    for sid in ("RefusePlaintext", "RefuseOtherEncryption", "RefuseOtherKeys"):
        yield Mutation(
            f"{stack}-{bucket}-{sid}", "bucket-private",
            statements(stack, "aws_s3_bucket_policy", f"{bucket}_policy", "policy", without(sid)), ("C6",), (19,),
        )  # fmt: skip
    yield Mutation(
        f"{stack}-{bucket}-public", "bucket-private",
        put(stack, "aws_s3_bucket_public_access_block", f"{bucket}_public_access", "ignore_public_acls",
        False), (), (19,),
    )  # fmt: skip
    yield Mutation(
        f"{stack}-{bucket}-acls", "bucket-private",
        put(stack, "aws_s3_bucket_ownership_controls", f"{bucket}_ownership", "rule.object_ownership", "ObjectWriter"),
    )  # fmt: skip
    yield Mutation(
        f"{stack}-{bucket}-uploads", "bucket-lifecycle",
        drop(stack, "aws_s3_bucket_lifecycle_configuration", f"{bucket}_lifecycle", "rule"),
    )  # fmt: skip
