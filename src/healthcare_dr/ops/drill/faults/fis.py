"""Start and stop FIS experiments: templates are found by their names, experiments by the tag of their order."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

from healthcare_dr.errors import DeploymentError
from healthcare_dr.naming import Names
from healthcare_dr.ops.drill.faults.fault import Client

ORDER: Final = "hdr-drill-order"
"""The tag of an experiment with the order of the recorded fault that started it."""
TAGS: Final = {"Environment": "Production", "DisasterRecovery": "Enabled"}
ENDED: Final = ("completed", "stopped", "failed", "cancelled")
WAIT_SECONDS: Final = 300.0
POLL_SECONDS: Final = 2.0


class FisExperiments:
    """Starts and stops experiments. Raises what boto3 raises, and `DeploymentError`."""

    def __init__(
        self,
        *,
        client: Client,
        names: Names,
        clock: Callable[[], float],
        sleep: Callable[[float], None],
        report: Callable[[str], None],
    ) -> None:
        self._client, self._names = client, names
        self._clock, self._sleep, self._report = clock, sleep, report

    def templates(self, region: str, kinds: Sequence[str]) -> dict[str, str]:
        """Return the id of each kind's template in a region.

        Raises:
            DeploymentError: one is not deployed.
        """
        found = {
            template.get("tags", {}).get("Name"): template["id"]
            for page in self._pages("list_experiment_templates", region)
            for template in page["experimentTemplates"]
        }
        wanted = {kind: self._names.of(kind, region) for kind in kinds}
        if missing := [name for name in wanted.values() if name not in found]:
            raise DeploymentError(
                f"{region} has no FIS template {', '.join(missing)}: set HDR_FAULT_INJECTION=true, deploy with "
                "`hdr deploy --target aws`, and begin again"
            )
        return {kind: found[name] for kind, name in wanted.items()}

    def start(self, region: str, kinds: Sequence[str], order: str) -> None:
        """Start one experiment of each kind, unless `order` has started it already. Return when all run.

        Raises:
            DeploymentError: one ended instead, or does not run within 300 s.
        """
        fis, started = self._client("fis", region), dict[str, str]()
        for kind, template in self.templates(region, kinds).items():
            name = self._names.of(kind, region)
            # FIS starts nothing new for a token that it has seen.
            answer = fis.start_experiment(
                clientToken=f"{order}-{kind}",
                experimentTemplateId=template,
                tags={**TAGS, "Name": name, ORDER: order},
            )
            started[name] = answer["experiment"]["id"]
        for name, experiment in started.items():
            state = self._awaited(region, experiment, ("running", *ENDED))
            if state["status"] != "running":
                raise DeploymentError(f"the FIS experiment {name} ({experiment}) ended: {_text(state)}")

    def stop(self, region: str, kinds: Sequence[str], order: str) -> None:
        """Stop the experiments of these kinds that `order` started, and wait for their end. Reports those that ended
        before.

        Raises:
            DeploymentError: one does not end within 300 s.
        """
        stopped, names = [], [self._names.of(kind, region) for kind in kinds]
        for found in self._ordered(region, order):
            if found["tags"].get("Name") not in names:
                continue
            if found["state"]["status"] in ENDED:
                self._report(f"the FIS experiment {found['id']} in {region} had ended before: {_text(found['state'])}")
                continue
            self._stop(region, found["id"])
            stopped.append(found["id"])
        for experiment in stopped:
            state = self._awaited(region, experiment, ENDED)
            if state["status"] == "failed":
                self._report(f"the FIS experiment {experiment} in {region} did not end well: {_text(state)}")

    def _stop(self, region: str, experiment: str) -> None:
        from botocore.exceptions import ClientError

        fis = self._client("fis", region)
        try:
            fis.stop_experiment(id=experiment)
        except ClientError:
            # It may have ended meanwhile.
            if fis.get_experiment(id=experiment)["experiment"]["state"]["status"] not in (*ENDED, "stopping"):
                raise

    def _ordered(self, region: str, order: str) -> list[Mapping[str, Any]]:
        return [
            found
            for page in self._pages("list_experiments", region)
            for found in page["experiments"]
            if found.get("tags", {}).get(ORDER) == order
        ]

    def _pages(self, operation: str, region: str) -> Iterator[Mapping[str, Any]]:
        yield from self._client("fis", region).get_paginator(operation).paginate()

    def _awaited(self, region: str, experiment: str, states: Sequence[str]) -> Mapping[str, Any]:
        deadline = self._clock() + WAIT_SECONDS
        while True:
            answer = self._client("fis", region).get_experiment(id=experiment)
            state: Mapping[str, Any] = answer["experiment"]["state"]
            if state["status"] in states:
                return state
            if self._clock() >= deadline:
                raise DeploymentError(
                    f"the FIS experiment {experiment} in {region} is {_text(state)} after {WAIT_SECONDS:g} s: look at "
                    f"it with `aws fis get-experiment --region {region} --id {experiment}`"
                )
            self._sleep(POLL_SECONDS)


def _text(state: Mapping[str, Any]) -> str:
    reason = " ".join(str(state.get("reason") or "").split())
    return f"{state['status']} ({reason})" if reason else str(state["status"])
