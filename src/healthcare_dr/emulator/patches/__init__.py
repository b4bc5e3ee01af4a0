"""Patch ministack 1.5.33 in memory where it differs from AWS, before it serves. Nothing on disk changes.

There is one module per AWS service and one function per patch. The docstring of a patch describes the defect that it
corrects, or the purpose of a cache or limit. Most patches replace one function of ministack (see `replacement`). Every
patch of a defect has a test that shows the defect without it, so a newer ministack that needs no patch, or another one,
fails a test.
"""

from collections.abc import Callable

from healthcare_dr.emulator.patches import (
    apigateway,
    clock,
    cloudtrail,
    cloudwatch,
    dynamodb,
    ec2,
    event_source_mappings,
    gateway,
    history,
    iam,
    kms,
    lambda_runtime,
    route53,
    s3,
    sns,
)

PATCHES: tuple[Callable[[], None], ...] = (
    gateway.route_health_to_apis,
    gateway.block_admin_endpoints,
    cloudtrail.keep_trail_tags,
    cloudwatch.describe_all_alarm_members,
    cloudwatch.evaluate_alarm_periods,
    cloudwatch.evaluate_alarms_periodically,
    cloudwatch.extract_embedded_metrics,
    clock.scale_schedules,
    history.limit_history,
    ec2.keep_flow_log_members,
    ec2.drop_ports_of_all_protocol_rules,
    ec2.tag_default_egress_rule,
    ec2.store_peering_options,
    dynamodb.report_replica_keys,
    dynamodb.report_warm_throughput,
    dynamodb.expose_leading_keys,
    dynamodb.cache_parsed_expressions,
    dynamodb.copy_items_without_memo,
    dynamodb.share_equal_strings,
    dynamodb.charge_reads_by_size,
    dynamodb.report_batch_read_capacity,
    dynamodb.restore_to_point_in_time,
    dynamodb.report_earliest_restorable_time,
    dynamodb.keep_unread_stream_records,
    route53.keep_child_health_checks,
    route53.write_xml_booleans,
    route53.add_get_dnssec,
    route53.add_list_tags_for_resources,
    apigateway.omit_lambda_members_of_jwt_authorizers,
    apigateway.require_invoke_permission,
    apigateway.include_stage_in_path,
    apigateway.route_options_requests,
    apigateway.reject_malformed_tokens,
    iam.cache_parsed_policies,
    iam.authorize_transactions_once,
    iam.derive_resource_arns,
    iam.distinguish_lambda_actions,
    iam.provide_condition_keys,
    iam.resolve_principal_arn_to_role,
    iam.verify_root_signature,
    s3.expose_sse_key,
    s3.expose_request_tags,
    s3.keep_multipart_tags,
    s3.reject_unsigned_headers,
    s3.hide_missing_objects,
    s3.validate_multipart_completion,
    sns.return_requested_subscription_arn,
    sns.list_pending_confirmation,
    sns.retry_subscribed_functions,
    sns.post_to_loopback_only,
    sns.keep_undelivered_notifications,
    kms.authorize_key_use,
    event_source_mappings.retry_batches,
    lambda_runtime.isolate_function_packages,
    lambda_runtime.share_reserved_concurrency,
    lambda_runtime.limit_workers,
    lambda_runtime.fork_functions,
    lambda_runtime.invoke_in_one_thread,
    apigateway.pass_called_address,
)


def apply() -> None:
    """Apply every patch once, before the first request, on the loop that serves."""
    for patch in PATCHES:
        patch()
