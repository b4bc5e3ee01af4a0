"""Plan, deploy and destroy the three stacks in their order, and write plans as files for policy scanners.

The regional stacks are deployed concurrently. The global stack looks up their resources, so it is planned when both
exist, and it is destroyed first.

An unattended first deployment does not wait for complete regional stacks. The global stack is planned when the
resources that it looks up exist, and applied when those that it refers to by name exist too. By then the regional
stacks mostly wait for S3 to become consistent.
"""

import json
import os
import shutil
import threading
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

from healthcare_dr.errors import DeploymentError
from healthcare_dr.naming import GLOBAL, PIPELINE, STACKS
from healthcare_dr.ops.ports import REGIONAL, Progress, Synthesize, Target
from healthcare_dr.ops.terraform.events import ChangeSummary, Event, ResourceEvent
from healthcare_dr.ops.terraform.protection import DestructionGuard, ProtectedChange
from healthcare_dr.ops.terraform.runner import PeeringInactiveError, Plan, Terraform, resource_events
from healthcare_dr.ops.terraform.state import StackState, read_settled, read_states
from healthcare_dr.ops.terraform.workspace import Workspace
from healthcare_dr.ops.warm_throughput import Approve, approve_increase
from healthcare_dr.settings import ROUTE53_METRICS_REGION

T = TypeVar("T")
R = TypeVar("R")


def run_concurrently(step: Callable[[T], R], items: Sequence[T]) -> list[R]:
    """Return the results in the order of the items. If one fails, the others still finish.

    Raises:
        Interrupted: a signal ended one of them.
        DeploymentError: with the texts of all errors.
    """
    with ThreadPoolExecutor(max_workers=max(1, len(items))) as pool:
        futures = [pool.submit(step, item) for item in items]
    problems = [problem for future in futures if (problem := future.exception()) is not None]
    for problem in problems:
        if not isinstance(problem, DeploymentError):
            raise problem
    if problems:
        raise DeploymentError("; ".join(str(problem) for problem in problems))
    return [future.result() for future in futures]


VERBS = {"create": "created", "delete": "destroyed", "update": "changed"}

LOOKED_UP = frozenset(
    {
        "aws_apigatewayv2_api.patient_http_api",
        "aws_kms_alias.data_key_alias",
        "aws_route_table.private_routes",
        "aws_route_table.public_routes",
        "aws_vpc.vpc",
    }
)
"""The resources of a regional stack that data sources of the global stack find, so that it can be planned."""

REFERRED_TO = frozenset(
    {
        "aws_iam_role.api_role",
        "aws_lambda_function.document_confirmation",
        "aws_lambda_function.reconciliation",
        "aws_lambda_permission.documents_permission",
        "aws_sns_topic_policy.operations_topic_policy",
    }
)
"""The resources of a regional stack that AWS has to find when the global stack is applied, which names them."""

Confirm = Callable[[Sequence[Plan]], bool]
"""Returns whether plans may be carried out."""


def approve_all(plans: Sequence[Plan]) -> bool:
    """Approve the plans without confirmation."""
    del plans
    return True


@dataclass(frozen=True)
class Changes:
    """Numbers of resources that were or would be changed."""

    add: int = 0
    change: int = 0
    remove: int = 0

    @classmethod
    def of(cls, plans: Sequence[Plan]) -> "Changes":
        """Return the sum over plans."""
        return cls(
            add=sum(plan.add for plan in plans),
            change=sum(plan.change for plan in plans),
            remove=sum(plan.remove for plan in plans),
        )


class RegionalProgress:
    """The resources of the regional stacks that exist. Thread-safe."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._created: dict[str, set[str]] = {stack: set() for stack in REGIONAL}
        self._succeeded: dict[str, bool] = {}

    def created(self, stack: str, address: str) -> None:
        """Record that a resource exists."""
        with self._changed:
            self._created[stack].add(address)
            self._changed.notify_all()

    def ended(self, stack: str, *, succeeded: bool) -> None:
        """Record that a stack is complete, or failed."""
        with self._changed:
            self._succeeded[stack] = succeeded
            self._changed.notify_all()

    def wait_for(self, addresses: Collection[str]) -> bool:
        """Wait until both regions have all of these resources; return False if a region that lacks one has failed."""
        with self._changed:
            self._changed.wait_for(lambda: all(self._settled(stack, addresses) for stack in REGIONAL))
            return all(self._has(stack, addresses) for stack in REGIONAL)

    def _settled(self, stack: str, addresses: Collection[str]) -> bool:
        return self._has(stack, addresses) or stack in self._succeeded

    def _has(self, stack: str, addresses: Collection[str]) -> bool:
        return self._succeeded.get(stack, False) or self._created[stack].issuperset(addresses)


@dataclass(frozen=True, kw_only=True)
class Deployment:
    """The three stacks of one environment on one target."""

    target: Target
    terraform: Terraform
    synthesize: Synthesize
    domain: str
    """The name of the hosted zone."""
    root: Path
    parallel_init: bool
    """False if the provider is downloaded into a cache, which concurrent runs of Terraform cannot share safely."""
    raise_throughput: Callable[[Approve], None]
    """Raises the warm throughput of the deployed tables, which Terraform's provider cannot: `WarmThroughput.ensure`."""
    progress: Progress

    def states(self) -> dict[str, StackState]:
        """Return the current state of each stack."""
        return read_states(self.target.read_state)

    def prepare(self, stacks: Sequence[str] = STACKS) -> dict[str, Workspace]:
        """Synthesize, fill the workspaces, and initialize those that changed, without requests to AWS."""
        self.progress.say(f"Synthesizing {'the three stacks' if stacks == STACKS else ', '.join(stacks)}")
        synthesized = self.root / "synth"
        shutil.rmtree(synthesized, ignore_errors=True)
        synthesized.mkdir(parents=True)
        self.synthesize(synthesized)
        workspaces = [Workspace(root=self.root, stack=stack) for stack in stacks]
        for workspace in workspaces:
            workspace.prepare(synthesized / "stacks" / workspace.stack, self.target.override(workspace.stack))
        self._initialize([workspace for workspace in workspaces if not workspace.initialized(*self._init_inputs())])
        return {workspace.stack: workspace for workspace in workspaces}

    def validate(self) -> None:
        """Check all three configurations against the provider's schema."""
        run_concurrently(self.terraform.validate, list(self.prepare().values()))

    def plan(self) -> list[Plan]:
        """Return plans of all stacks that can be planned: of the global one if both regional stacks exist."""
        self.target.preflight()
        self._require_no_other_zone()
        self._check_quotas(required=False)
        workspaces = self.prepare()
        stacks = list(REGIONAL)
        if all(self.states()[stack].deployed for stack in REGIONAL):
            stacks.append(GLOBAL)
        else:
            self.progress.say(f"{GLOBAL} can be planned once both regional stacks are deployed")
        return self._plan([workspaces[stack] for stack in stacks])

    def show_plans(self, plans: Sequence[Plan]) -> dict[str, dict[str, object]]:
        """Return the saved plans in Terraform's JSON, by stack."""
        return {plan.stack: self.terraform.show_plan(Workspace(root=self.root, stack=plan.stack)) for plan in plans}

    def deploy(
        self,
        confirm: Confirm | None,
        *,
        approve: Approve = approve_increase,
        allow_destroy: Collection[str] = (),
        prepared: dict[str, Workspace] | None = None,
    ) -> Changes:
        """Create or update all three stacks, then raise the throughput of the tables.

        The same call continues after a failure or an interruption.

        Args:
            confirm: decides on each group of plans; None approves all, and deploys the stacks of a first deployment
                concurrently.
            approve: decides on the increase of the tables' throughput, which AWS charges for once.
            allow_destroy: addresses of protected resources that the plans may destroy. No approval replaces them. Those
                that an earlier call has destroyed are reported.
            prepared: the result of `prepare`, if it was called already.

        Raises:
            DeploymentError: a step failed or was not confirmed, or a plan destroys a protected resource that
                `allow_destroy` does not contain, or this contains what is not a resource; completed changes are in the
                state.
        """
        self.target.preflight()
        self._require_no_other_zone()
        # What is deployed must stay deployable, whatever its quotas are.
        self._check_quotas(required=not any(state.deployed for state in self.states().values()))
        changes = self._deploy_stacks(confirm, allow_destroy, prepared or self.prepare())
        self.raise_throughput(approve)
        return changes

    def _deploy_stacks(
        self, confirm: Confirm | None, allow_destroy: Collection[str], workspaces: dict[str, Workspace]
    ) -> Changes:
        states = self.states()
        guard = DestructionGuard(allow_destroy, self.progress, existing=_addresses(states, workspaces))
        if confirm is None:
            if not any(state.deployed for state in states.values()):
                guard.check(())
                return self._deploy_first(workspaces)
            confirm = approve_all
        plans = self._first_plans(workspaces)
        regional = [plan for plan in plans if plan.stack in REGIONAL]
        spanning = [plan for plan in plans if plan.stack == GLOBAL]
        replanned = not spanning or any(plan.pending for plan in regional)
        guard.check(_protected(plans), planned_later={GLOBAL} if replanned and states[GLOBAL].deployed else ())
        self._carry_out(regional, workspaces, confirm, "deployed")
        if replanned:
            spanning = self._plan([workspaces[GLOBAL]])
            guard.check(_protected(spanning))
        self._carry_out(spanning, workspaces, confirm, "deployed")
        return Changes.of([*regional, *spanning])

    def destroy(self, confirm: Confirm | None) -> Changes:
        """Destroy all resources in the states, the global stack first.

        Args:
            confirm: decides on the plans of all stacks, which state what is lost; None approves without inspecting
                them.

        Raises:
            DeploymentError: a step failed or was not confirmed; the remaining resources are in the state.
        """
        self.target.preflight()
        left = [stack for stack, state in self.states().items() if state.deployed]
        if not left:
            self.progress.say("Nothing is deployed")
            return Changes()
        workspaces = self.prepare()
        plans = self._plan([workspaces[stack] for stack in left], destroy=True, inspect=confirm is not None)
        if confirm is not None and not confirm([plan for plan in plans if plan.pending]):
            raise DeploymentError("not confirmed: nothing was destroyed")
        for group in ((GLOBAL,), REGIONAL):
            chosen = [plan for plan in plans if plan.stack in group]
            self._carry_out(chosen, workspaces, approve_all, "destroyed")
        return Changes.of(plans)

    def _require_no_other_zone(self) -> None:
        """Refuse a domain that has a hosted zone of another owner in the account.

        Route 53 allows several zones of one name, but a parent zone delegates to one of them, and the records of the
        others have no effect.
        """
        from botocore.exceptions import BotoCoreError, ClientError

        if self.domain in _zone_names(self.states()[GLOBAL]):
            return
        try:
            # Sorted from this name on.
            found = self.target.client("route53", ROUTE53_METRICS_REGION).list_hosted_zones_by_name(DNSName=self.domain)
        except (BotoCoreError, ClientError) as error:
            text = " ".join(str(error).split())
            raise DeploymentError(f"the hosted zones of the account cannot be read: {text}") from error
        for zone in found["HostedZones"]:
            if zone["Name"].rstrip(".") == self.domain and not zone.get("Config", {}).get("PrivateZone"):
                raise DeploymentError(
                    f"the account already has a hosted zone {self.domain} ({zone['Id'].removeprefix('/hostedzone/')}), "
                    "which this environment did not create, and clients would query only one of the two: set "
                    "HDR_DOMAIN to a subdomain that has no zone, or delete that zone if nothing uses it"
                )

    def _check_quotas(self, *, required: bool) -> None:
        for warning in self.target.check_quotas(required=required):
            self.progress.say(f"warning: {warning}")

    def deploy_pipeline(self, confirm: Confirm) -> Changes:
        """Create or update the roles of the deployment pipeline, a stack of its own. The three stacks stay as they are.

        Raises:
            DeploymentError: a step failed or was not confirmed.
        """
        self.target.preflight()
        return self._carry_out_pipeline(confirm, "deployed", destroy=False)

    def destroy_pipeline(self, confirm: Confirm) -> Changes:
        """Destroy the roles of the deployment pipeline. IAM keeps a boundary that roles of the three stacks have.

        Raises:
            DeploymentError: a step failed or was not confirmed.
        """
        self.target.preflight()
        if not read_settled(PIPELINE, partial(self.target.read_state, PIPELINE)).deployed:
            self.progress.say("Nothing is deployed")
            return Changes()
        return self._carry_out_pipeline(confirm, "destroyed", destroy=True)

    def _carry_out_pipeline(self, confirm: Confirm, verb: str, *, destroy: bool) -> Changes:
        workspaces = self.prepare((PIPELINE,))
        plans = self._plan([workspaces[PIPELINE]], destroy=destroy)
        self._carry_out(plans, workspaces, confirm, verb)
        return Changes.of(plans)

    def _init_inputs(self) -> tuple[str, ...]:
        # The only absolute paths that Terraform stores are those of the mirror and the cache.
        configuration = Path(self.terraform.environment["TF_CLI_CONFIG_FILE"]).read_text(encoding="utf-8")
        return str(self.terraform.binary), configuration

    def _initialize(self, workspaces: Sequence[Workspace]) -> None:
        if not workspaces:
            return
        self.progress.say(f"Initializing {', '.join(workspace.stack for workspace in workspaces)}")
        if self.parallel_init:
            run_concurrently(self._initialize_one, workspaces)
            return
        lock_files = [Workspace(root=self.root, stack=stack).lock_file for stack in STACKS]
        chosen = next((file for file in lock_files if file.exists()), None)
        for workspace in workspaces:
            if chosen is not None and not workspace.lock_file.exists():
                # All stacks use the first stack's version of the provider, which is in the cache.
                workspace.lock_file.write_bytes(chosen.read_bytes())
            self._initialize_one(workspace)
            chosen = chosen or workspace.lock_file

    def _initialize_one(self, workspace: Workspace) -> None:
        self.terraform.init(workspace)
        workspace.mark_initialized(*self._init_inputs())

    def _first_plans(self, workspaces: dict[str, Workspace]) -> list[Plan]:
        """Plan both regions, and the global stack if it is deployed, because usually no region changes."""
        if all(state.deployed for state in self.states().values()):
            try:
                return self._plan(list(workspaces.values()))
            except DeploymentError:
                # The global stack may lack resources that a region will create. Other errors occur again.
                self.progress.say(f"{GLOBAL} is planned again after the regions")
        return self._plan([workspaces[stack] for stack in REGIONAL])

    def _deploy_first(self, workspaces: dict[str, Workspace]) -> Changes:
        """Create all three stacks concurrently. No state contains a resource, so nothing can be destroyed."""
        self.target.remember()
        regions = RegionalProgress()

        def create(stack: str) -> int:
            if stack == GLOBAL:
                return self._create_global(workspaces, regions)
            return self._create(workspaces, regions, stack)

        return Changes(add=sum(run_concurrently(create, STACKS)))

    def _create(self, workspaces: dict[str, Workspace], regions: RegionalProgress, stack: str) -> int:
        succeeded = False
        self.progress.begin(stack, "planning")
        follow = _Follower(self.progress, stack, created=lambda address: regions.created(stack, address))
        try:
            added = self.terraform.create(workspaces[stack], listen=follow)
            succeeded = True
        finally:
            regions.ended(stack, succeeded=succeeded)
        self.progress.end(stack, "deployed")
        return added

    def _create_global(self, workspaces: dict[str, Workspace], regions: RegionalProgress) -> int:
        if not regions.wait_for(LOOKED_UP):
            return 0
        (plan,) = self._plan([workspaces[GLOBAL]])
        if not regions.wait_for(REFERRED_TO):
            return 0
        if plan.pending:
            self._apply(plan, workspaces[GLOBAL], "deployed")
        return plan.add

    def _plan(self, workspaces: Sequence[Workspace], *, destroy: bool = False, inspect: bool = True) -> list[Plan]:
        def plan(workspace: Workspace) -> Plan:
            self.progress.begin(workspace.stack, "planning")
            planned = self.terraform.plan(workspace, destroy=destroy, inspect=inspect)
            numbers = f"{planned.add} to add, {planned.change} to change, {planned.remove} to destroy"
            self.progress.end(workspace.stack, numbers if planned.pending else "up to date")
            return planned

        return run_concurrently(plan, workspaces)

    def _carry_out(self, plans: Sequence[Plan], workspaces: dict[str, Workspace], confirm: Confirm, verb: str) -> None:
        pending = [plan for plan in plans if plan.pending]
        if not pending:
            return
        if not confirm(pending):
            raise DeploymentError(f"not confirmed: {', '.join(plan.stack for plan in pending)} left as it was")
        self.target.remember()
        run_concurrently(lambda plan: self._apply(plan, workspaces[plan.stack], verb), pending)

    def _apply(self, plan: Plan, workspace: Workspace, verb: str) -> None:
        """Apply a saved plan; plan and apply the rest once more if only a peering connection was not active yet."""
        try:
            self._apply_once(plan, workspace)
        except PeeringInactiveError:
            self.progress.say(f"{plan.stack}: the peering connection was not active yet: repeating what is left")
            # The plan refreshes the whole stack, which gives the connection the time that it needs.
            (rest,) = self._plan([workspace], destroy=plan.destroys)
            if not _is_part_of(rest, plan):
                raise
            self._apply_once(rest, workspace)
        self.progress.end(plan.stack, verb)

    def _apply_once(self, plan: Plan, workspace: Workspace) -> None:
        self.progress.begin(plan.stack, "destroying" if plan.destroys else "applying")
        follow = _Follower(self.progress, plan.stack, total=plan.add + plan.change + plan.remove)
        self.terraform.apply(workspace, listen=follow)


def _protected(plans: Sequence[Plan]) -> list[ProtectedChange]:
    return [change for plan in plans for change in plan.protected]


def _addresses(states: Mapping[str, StackState], workspaces: Mapping[str, Workspace]) -> set[str]:
    """Return the addresses of the managed resources in the states and in the configuration, with their stacks."""
    deployed = {
        f"{stack}:{resource.get('type')}.{resource.get('name')}"
        for stack, state in states.items()
        for resource in state.document.get("resources") or ()
        if resource.get("mode") == "managed"
    }
    configured = {
        f"{stack}:{kind}.{name}"
        for stack, workspace in workspaces.items()
        for kind, named in workspace.configuration().get("resource", {}).items()
        for name in named
    }
    return deployed | configured


def _is_part_of(rest: Plan, approved: Plan) -> bool:
    """Return whether a plan changes only resources of an approved plan, and destroys nothing else that is protected."""
    left, known = ({change.address for change in plan.changes} for plan in (rest, approved))
    lost, allowed = ({change.address for change in plan.protected} for plan in (rest, approved))
    return left <= known and lost <= allowed


def _zone_names(state: StackState) -> set[str]:
    """Return the names of the hosted zones in a state."""
    return {
        str((instance.get("attributes") or {}).get("name"))
        for resource in state.document.get("resources") or ()
        if resource.get("type") == "aws_route53_zone" and resource.get("mode") == "managed"
        for instance in resource.get("instances") or ()
    }


class _Follower:
    """Reports the resources of an apply as progress, without reads of data sources."""

    def __init__(
        self, progress: Progress, stack: str, *, total: int = 0, created: Callable[[str], None] | None = None
    ) -> None:
        self._progress = progress
        self._stack = stack
        self._total = total
        self._done = 0
        self._created = created
        self._resources = resource_events(self._follow)

    def __call__(self, event: Event) -> None:
        if isinstance(event, ChangeSummary) and self._created is not None and not self._done:
            # The summary of the plan, before anything is created.
            self._total = event.add
            self._progress.end(self._stack, f"{event.add} to add, {event.change} to change, {event.remove} to destroy")
            self._progress.begin(self._stack, "applying")
        self._resources(event)

    def _follow(self, event: ResourceEvent) -> None:
        if event.phase == "complete":
            self._done += 1
            result = f"{event.address} {VERBS.get(event.action, event.action)} ({event.seconds:.0f} s)"
            self._progress.complete(self._stack, done=self._done, total=self._total, resource=result)
            if self._created is not None:
                self._created(event.address)
        elif event.phase == "errored":
            self._progress.say(f"{self._stack}: {event.address} failed")
        else:
            self._progress.advance(self._stack, done=self._done, total=self._total, current=event.address)


def prepare_folder(folder: Path) -> None:
    """Create the folder for plans.

    Raises:
        DeploymentError: the folder cannot be created.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DeploymentError(f"{folder} cannot be made a folder for the plans: {error.strerror}") from error


def write_plans(plans: Mapping[str, object], folder: Path) -> None:
    """Write each plan as `<stack>.json`, readable by its owner only, because a plan may contain secrets.

    Raises:
        DeploymentError: a file cannot be written.
    """
    for stack, content in plans.items():
        file = folder / f"{stack}.json"
        try:
            descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with os.fdopen(descriptor, "w", encoding="utf-8") as out:
                os.fchmod(descriptor, 0o600)
                json.dump(content, out)
        except OSError as error:
            raise DeploymentError(f"{file} cannot be written: {error.strerror}") from error
