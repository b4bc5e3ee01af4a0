"""Patch ministack 1.5.33 in memory where it differs from AWS, before it serves. Nothing on disk changes.

There is one function per defect, whose docstring describes the defect; caches and limits state their purpose. A patch
replaces a function of ministack by one that calls it. Every patch of a defect has a test that shows the defect without
it, so a newer ministack that needs no patch, or another one, fails a test.
"""

from collections.abc import Callable

from healthcare_dr.emulator.patches import (
    apigateway,
    clock,
    cloudtrail,
    cloudwatch,
    cloudwatch_alarms,
    cloudwatch_logs,
    dynamodb,
    dynamodb_access,
    dynamodb_expressions,
    dynamodb_reads,
    dynamodb_restores,
    dynamodb_streams,
    ec2,
    ec2_peering,
    gateway,
    history,
    iam,
    iam_policies,
    jwt_authorizer,
    kms,
    lambda_runtime,
    lambda_workers,
    request_bodies,
    route53,
    s3,
    s3_requests,
    stream_mappings,
)

PATCHES: tuple[Callable[[], None], ...] = (
    gateway.leave_health_to_the_apis,
    gateway.close_the_administration,
    cloudtrail.keep_tags_of_a_new_trail,
    cloudwatch.describe_alarms_in_full,
    cloudwatch_alarms.evaluate_each_period_of_an_alarms_own_metric,
    cloudwatch_alarms.evaluate_alarms_periodically,
    cloudwatch_logs.take_metrics_out_of_logs,
    clock.fire_schedules_on_the_services_clock,
    history.bound_the_history,
    ec2.keep_all_of_a_flow_log,
    ec2.keep_no_ports_for_all_protocols,
    ec2.tag_the_default_egress_rule,
    ec2_peering.keep_peering_options,
    dynamodb.give_a_replica_its_own_key,
    dynamodb_access.tell_policies_the_leading_keys,
    dynamodb_expressions.cache_parsed_expressions,
    dynamodb_expressions.copy_items_as_trees,
    dynamodb_expressions.share_equal_parts_of_items,
    dynamodb_reads.count_what_a_read_reads,
    dynamodb_reads.tell_what_a_batch_read_costs,
    dynamodb_restores.restore_what_was_there_then,
    dynamodb_restores.tell_how_far_back_a_table_can_be_restored,
    dynamodb_streams.keep_what_no_mapping_has_read,
    route53.keep_children_of_calculated_checks,
    route53.write_booleans_as_xml_does,
    route53.answer_get_dnssec,
    route53.answer_tags_of_many,
    apigateway.keep_jwt_authorizers_plain,
    apigateway.ask_the_function_for_permission,
    apigateway.cache_route_matches,
    apigateway.answer_no_options_but_preflights,
    jwt_authorizer.cache_verified_signatures,
    jwt_authorizer.refuse_malformed_tokens,
    iam_policies.cache_parsed_policies,
    iam_policies.read_a_caller_only_where_it_matters,
    iam_policies.check_a_transactions_actions_once,
    request_bodies.read_each_body_once,
    iam.call_a_session_by_its_role,
    iam.ask_root_for_its_signature,
    s3.tell_policies_the_key,
    s3.tell_policies_the_tags,
    s3.keep_the_tags_of_an_upload,
    s3_requests.refuse_headers_that_are_not_signed,
    s3_requests.hide_what_does_not_exist,
    s3_requests.complete_an_upload_only_as_announced,
    kms.ask_the_key_on_the_callers_behalf,
    stream_mappings.retry_batches_as_the_mapping_says,
    lambda_runtime.show_functions_only_their_runtime,
    lambda_runtime.hold_versions_to_the_reserved_concurrency,
    lambda_runtime.let_bursts_wait_for_a_worker,
    lambda_workers.start_functions_as_forks,
    lambda_workers.invoke_in_one_thread,
    lambda_workers.invoke_on_threads_that_exist,
    # After the last one, whose function it calls.
    apigateway.tell_functions_which_address_was_called,
)


def apply() -> None:
    """Apply every fix, once, before the first request, on the loop that serves."""
    for fix in PATCHES:
        fix()
