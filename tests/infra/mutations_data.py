"""Damage to tables, buckets, keys, and the trail of data events."""

import json

from healthcare_dr.naming import GLOBAL, PRIMARY, SECONDARY
from infra.damage import REGIONAL, Damage, Documents, Mutations, Part, add, combined, remove_all, resource

OBJECT_CONTEXT = "kms:EncryptionContext:aws:s3:arn"


def data_mutations() -> Mutations:
    yield from table_mutations()
    for name, rule in (("reconciliation_stream", "records-stream"), ("tampering_stream", "audit-stream")):
        for _, role in REGIONAL:
            yield from stream_mutations(f"{name}_{role}", rule)
    for _, role in REGIONAL:
        yield from replication_mutations(role)
        yield from bucket_mutations(GLOBAL, f"documents_{role}")
    yield from bucket_mutations(PRIMARY, "trail_bucket")
    other_key = "rule.apply_server_side_encryption_by_default.kms_master_key_id"
    encryption = resource(GLOBAL, "aws_s3_bucket_server_side_encryption_configuration.documents_primary_encryption")
    yield "bucket-encryption", encryption.put(other_key, "alias/aws/s3")
    documents = resource(GLOBAL, "aws_s3_bucket.documents_primary")
    yield "bucket-encryption", documents.put("provider", "aws.elsewhere")
    yield "replication-delete-markers", replication("primary").drop("rule.filter")
    for stack, _ in REGIONAL:
        yield from trail_mutations(stack)
        yield from key_mutations(stack)
    yield from index_key_mutations()
    yield "key-per-region", remove_all(PRIMARY, "aws_kms_alias")
    administration = resource(PRIMARY, "aws_kms_key.data_key").statement("Administration")
    yield "key-policy-least-privilege", administration.put("Principal", {"AWS": "*"})


def table_mutations() -> Mutations:
    for name in ("patient_records", "audit_logs"):
        table = resource(GLOBAL, f"aws_dynamodb_table.{name}")
        yield "table-single-owner", table.remove()
        yield "table-replica", table.drop("replica")
        yield "table-recovery", table.put("point_in_time_recovery.enabled", False)
        yield "table-recovery", table.drop("replica.point_in_time_recovery")
        yield "table-stream", table.put("stream_view_type", "NEW_IMAGE")
        yield "table-keys", table.put("replica.kms_key_arn", data_key_of("primary"))
        yield "table-keys", table.drop("server_side_encryption")
        yield "table-replica-tags", table.put("replica.propagate_tags", False)
        yield "destroyable", table.put("deletion_protection_enabled", True)
        yield "table-sharded-index", table.put("hash_key", "tenant")
    audit = resource(GLOBAL, "aws_dynamodb_table.audit_logs")
    yield "table-sharded-index", audit.drop("range_key")
    yield "table-sharded-index", audit.put("global_secondary_index.hash_key", "updated")
    yield "table-single-owner", add(PRIMARY, "aws_dynamodb_table_replica.stray", {"global_table_arn": "arn"})
    yield "table-single-owner", Damage("second owner of records", own_twice)


def own_twice(documents: Documents) -> None:
    body = documents[GLOBAL]["resource"]["aws_dynamodb_table"]["patient_records"]
    documents[SECONDARY]["resource"]["aws_dynamodb_table"] = {"copy": dict(body)}


def stream_mutations(name: str, rule: str) -> Mutations:
    mapping = resource(GLOBAL, f"aws_lambda_event_source_mapping.{name}")
    more, less = (
        {"dynamodb": {"Keys": {"sk": {"S": sort_keys}}}}
        for sort_keys in (["head", {"prefix": "v#"}, {"prefix": "l#"}], [{"prefix": "v#"}])
    )
    patterns = [{}, more, less, {"eventName": ["INSERT", "MODIFY", "REMOVE"]}, {"eventName": ["REMOVE"]}]
    for attribute, value in (
        ("starting_position", "LATEST"),
        ("bisect_batch_on_function_error", False),
        ("function_response_types", []),
        ("maximum_retry_attempts", 100),
        ("maximum_record_age_in_seconds", 3600),
        ("maximum_record_age_in_seconds", 86400),
        ("event_source_arn", "${aws_dynamodb_table.other.stream_arn}"),
        ("function_name", "healthcare-dr-patient-api-dev"),
        *(("filter_criteria", {"filter": [{"pattern": json.dumps(pattern)}]}) for pattern in patterns),
    ):
        yield rule, mapping.put(attribute, value)
    for attribute in (
        "maximum_retry_attempts", "maximum_record_age_in_seconds", "destination_config", "filter_criteria",
    ):  # fmt: skip
        yield rule, mapping.drop(attribute)
    yield rule, mapping.remove()
    here, peer = ("us-east-1", "us-west-2") if name.endswith("primary") else ("us-west-2", "us-east-1")
    yield rule, mapping.replace("destination_config.on_failure.destination_arn", here, peer)
    if rule == "records-stream":
        yield rule, mapping.drop("filter_criteria.filter.-1")
        yield (
            "stream-readers",
            resource(GLOBAL, "aws_lambda_event_source_mapping").edit(
                f"{name} copied", lambda named: named.update(second_reader=dict(named[name]))
            ),
        )


def replication(role: str) -> Part:
    return resource(GLOBAL, f"aws_s3_bucket_replication_configuration.replication_{role}")


def data_key_of(role: str) -> str:
    return f"${{data.aws_kms_alias.data_key_{role}.target_key_arn}}"


def replication_mutations(role: str) -> Mutations:
    configuration, selection = replication(role), "rule.source_selection_criteria"
    yield "replication-both-ways", configuration.remove()
    yield "replication-both-ways", configuration.put("rule.status", "Disabled")
    yield "replication-both-ways", configuration.put(f"{selection}.replica_modifications.status", "Disabled")
    yield "replication-both-ways", configuration.put("rule.filter.prefix", "x/")
    yield "replication-encrypted-objects", configuration.drop(f"{selection}.sse_kms_encrypted_objects")
    replica_key = "rule.destination.encryption_configuration.replica_kms_key_id"
    yield "replication-replica-key", configuration.put(replica_key, data_key_of(role))
    yield "replication-delete-markers", configuration.put("rule.delete_marker_replication.status", "Disabled")
    yield "replication-time-control", configuration.drop("rule.destination.replication_time")
    notification = resource(GLOBAL, f"aws_s3_bucket_notification.replication_events_{role}")
    yield "replication-time-control", notification.remove()
    yield "replication-waits-for-versioning", configuration.drop("depends_on.0")
    yield "replication-role", configuration.drop("depends_on.-1")
    policy = resource(GLOBAL, f"aws_iam_role_policy.replication_policy_{role}")
    for sid in ("DecryptSource", "EncryptReplicas", "ReadSource", "ReadVersions", "WriteReplicas"):
        yield "replication-role", policy.statement(sid).remove()
    for sid in ("DecryptSource", "EncryptReplicas"):
        yield "replication-role", policy.statement(sid).drop(f"Condition.ArnLike.{OBJECT_CONTEXT}.-1")


def bucket_mutations(stack: str, bucket: str) -> Mutations:
    versioning = resource(stack, f"aws_s3_bucket_versioning.{bucket}_versioning")
    yield "bucket-versioning", versioning.put("versioning_configuration.status", "Suspended")
    yield "bucket-destroyable", resource(stack, f"aws_s3_bucket.{bucket}").put("force_destroy", False)
    encryption = resource(stack, f"aws_s3_bucket_server_side_encryption_configuration.{bucket}_encryption")
    yield (
        "bucket-encryption",
        encryption.put("rule.apply_server_side_encryption_by_default.sse_algorithm", "AES256"),
    )
    yield "bucket-encryption", encryption.put("rule.bucket_key_enabled", False)
    for sid in ("RefusePlaintext", "RefuseOtherEncryption", "RefuseOtherKeys"):
        yield "bucket-private", resource(stack, f"aws_s3_bucket_policy.{bucket}_policy").statement(sid).remove()
    block = resource(stack, f"aws_s3_bucket_public_access_block.{bucket}_public_access")
    yield "bucket-private", block.put("ignore_public_acls", False)
    ownership = resource(stack, f"aws_s3_bucket_ownership_controls.{bucket}_ownership")
    yield "bucket-private", ownership.put("rule.object_ownership", "ObjectWriter")
    yield "bucket-lifecycle", resource(stack, f"aws_s3_bucket_lifecycle_configuration.{bucket}_lifecycle").drop("rule")


def trail_mutations(stack: str) -> Mutations:
    trail = resource(stack, "aws_cloudtrail.data_events")
    policy = resource(stack, "aws_s3_bucket_policy.trail_bucket_policy")
    for sid in ("TrailReadsAcl", "TrailWrites"):
        yield "data-event-trail", policy.statement(sid).remove()
    for number in range(2):
        first_arn = f"advanced_event_selector.{number}.field_selector.2.starts_with.0"
        yield "data-event-trail", trail.replace(first_arn, "-dev", "-other")
    yield "data-event-trail", trail.remove()
    yield "data-event-trail", trail.put("enable_log_file_validation", False)
    if stack == PRIMARY:
        yield "data-event-trail", trail.put("s3_bucket_name", "other-bucket")
        categories = [f"advanced_event_selector.{number}.field_selector.0.equals" for number in range(2)]
        management = combined(*(trail.put(category, ["Management"]) for category in categories))
        yield "data-event-trail", management


def key_mutations(stack: str) -> Mutations:
    key = resource(stack, "aws_kms_key.data_key")
    yield "key-per-region", key.put("enable_key_rotation", False)
    yield "key-per-region", key.drop("deletion_window_in_days")
    for rule, sids in (
        ("key-admits-alarms", ("Alarms", "Topics", "ReplicationEvents")),
        ("key-admits-logs", ("LogGroups",)),
        ("key-policy-cross-region", ("DocumentReplication", "PeerDocumentsRole")),
        ("key-admits-trail", ("Trail", "TrailReaders")),
        (
            "key-admits-region",
            (
                "ApiRole", "ConfirmationRole", "ReconciliationRole", "SentinelRole", "TablesOfThisAccount",
                "FunctionEnvironment",
            ),
        ),
    ):  # fmt: skip
        for sid in sids:
            yield rule, key.statement(sid).remove()
    for sid in ("ConfirmationRole", "ReconciliationRole"):
        yield "key-admits-region", key.statement(sid).drop("Condition.StringEquals.kms:ViaService.-1")
    yield "key-admits-trail", key.statement("TrailReaders").drop(f"Condition.ArnLike.{OBJECT_CONTEXT}.-1")
    by_replication = key.statement("DocumentReplication")
    yield "key-policy-cross-region", by_replication.drop("Condition.ArnEquals.aws:PrincipalArn.-1")
    yield "key-policy-cross-region", by_replication.put("Effect", "Deny")
    yield "key-policy-cross-region", by_replication.put("Action", ["kms:DescribeKey"])
    for action in ("kms:*", "kms:Decrypt"):
        yield "key-policy-least-privilege", key.statement("Administration").append("Action", action)
    for address, attribute in (
        ("aws_cloudwatch_log_group.access_log_group", "kms_key_id"),
        ("aws_sns_topic.operations_topic", "kms_master_key_id"),
        ("aws_lambda_function.patient_api", "kms_key_arn"),
        ("aws_cloudtrail.data_events", "kms_key_id"),
    ):
        yield "encrypted-at-rest", resource(stack, address).drop(attribute)


def index_key_mutations() -> Mutations:
    key, replica = resource(GLOBAL, "aws_kms_key.index_key"), resource(GLOBAL, "aws_kms_replica_key.index_key_replica")
    for damage in (
        key.put("multi_region", False),
        key.put("customer_master_key_spec", "HMAC_512"),
        key.put("enable_key_rotation", True),
        key.put("provider", "aws.secondary"),
        replica.remove(),
        replica.put("primary_key_arn", "${data.aws_kms_alias.x.arn}"),
        replica.drop("deletion_window_in_days"),
        resource(GLOBAL, "aws_kms_alias.index_key_alias_secondary").remove(),
        resource(GLOBAL, "aws_kms_alias.index_key_alias_primary").put("name", "alias/other-dev"),
    ):
        yield "index-key", damage
    # A key that encrypts must be rotated, whatever its name.
    yield "key-per-region", key.put("key_usage", "ENCRYPT_DECRYPT")
    for each in (key, replica):
        derivation, administration = each.statement("Derivation"), each.statement("Administration")
        yield "index-key-users", derivation.append("Principal.AWS", "arn:aws:iam::123456789012:role/other")
        yield "index-key-users", derivation.drop("Principal.AWS.-1")
        yield "index-key-users", derivation.append("Action", "kms:VerifyMac")
        for rule in ("index-key-users", "key-policy-least-privilege"):
            yield rule, administration.append("Action", "kms:GenerateMac")
