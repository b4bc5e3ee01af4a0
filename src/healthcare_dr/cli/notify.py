"""`hdr notify`: test the notifications of both regions."""

import typer

from healthcare_dr.cli.common import JsonOption, TargetName, TargetOption, command, report
from healthcare_dr.errors import DeploymentError
from healthcare_dr.ops import bootstrap
from healthcare_dr.ops.ports import REGIONAL
from healthcare_dr.ops.terraform.state import read_states
from healthcare_dr.settings import load_settings


@command
def notify(target: TargetOption = TargetName.EMBEDDED, as_json: JsonOption = False) -> None:
    """Send a test notification from both regions: sets an alarm by hand, which CloudWatch resets soon after.

    Lists the recipients. On the embedded AWS, receivers stand for HTTPS endpoints, and it waits for the notification to
    arrive there. Exits with 1 if a region was not tested, has no recipient or an unconfirmed one, or a receiver got
    nothing.
    """
    from healthcare_dr.ops.notify import await_arrival, send_tests, topics_of  # botocore is slow to import

    settings = load_settings()
    chosen = bootstrap.target_of(settings, target)
    emulator = bootstrap.emulator_of(settings) if target is TargetName.EMBEDDED else None
    if emulator is None:
        chosen.preflight()
    elif not emulator.running():
        raise DeploymentError("the embedded AWS does not run: start it with `hdr up`")
    states = read_states(chosen.read_state)
    topics = topics_of(
        {
            region: states[stack].outputs.get("topic_arn")
            for stack, region in zip(REGIONAL, settings.regions, strict=True)
        }
    )
    reason, tests = send_tests(chosen.client, topics, settings.names)
    if emulator is not None:
        addresses = (*chosen.operations_endpoints(), *chosen.operations_webhooks())
        receivers = [address.rpartition("/")[2] for address in addresses]
        tests = await_arrival(tests, reason=reason, receivers=receivers, received=emulator.notifications)
    if as_json:
        report({"reason": reason, "regions": [test.document() for test in tests]})
    else:
        for test in tests:
            typer.echo(f"{test.region}: {test.problem or 'the test notification was sent'}")
            for recipient in test.recipients:
                state = "confirmed" if recipient.confirmed else "NOT confirmed: it receives nothing"
                typer.echo(f"  {recipient.protocol} {recipient.address}: {state}")
            for name in test.missing:
                typer.echo(f"  {name} did not receive it")
            if not test.recipients and not test.problem:
                typer.echo("  no recipient: set HDR_OPERATIONS_EMAILS, _ENDPOINTS or _WEBHOOKS, and deploy")
    if not all(test.passed for test in tests):
        raise typer.Exit(1)
