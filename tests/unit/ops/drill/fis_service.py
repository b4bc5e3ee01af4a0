"""FIS behind a real boto3 client: requests and answers are checked against the service model, only AWS is missing."""

from dataclasses import dataclass, field
from itertools import count
from types import SimpleNamespace
from typing import Any

import boto3
from botocore.validate import validate_parameters

Answer = dict[str, Any]


class RefusedError(Exception):
    """What the service answers with an error; its code and message."""


@dataclass
class FisService:
    """One region's templates and experiments. An experiment goes on a state each time somebody asks for it.

    `templates` are names; `page` is how many entries a page of a list has. An experiment whose template is in
    `doomed` fails instead of running; `stuck` ones never leave their state.
    """

    region: str
    templates: list[str]
    page: int = 2
    doomed: set[str] = field(default_factory=set)
    stuck: bool = False
    experiments: dict[str, Answer] = field(default_factory=dict)
    calls: list[str] = field(default_factory=list)
    _numbers: Any = field(default_factory=lambda: count(1))

    def client(self) -> Any:
        made = boto3.client("fis", region_name=self.region, aws_access_key_id="a", aws_secret_access_key="b")
        made.meta.events.register("before-parameter-build.fis", self._note)
        made.meta.events.register("before-call.fis", self._answer)
        return made

    def running(self) -> list[str]:
        """The templates whose experiments run."""
        return [each["tags"]["Name"] for each in self.experiments.values() if each["state"]["status"] == "running"]

    def _note(self, params: Answer, context: dict[str, Any], **_: Any) -> None:
        context["asked"] = dict(params)

    def _answer(self, model: Any, context: dict[str, Any], **_: Any) -> tuple[SimpleNamespace, Answer]:
        self.calls.append(model.name)
        try:
            answer: Answer = getattr(self, model.name)(**context["asked"])
        except RefusedError as refusal:
            code, message = refusal.args
            return SimpleNamespace(status_code=400, headers={}), {"Error": {"Code": code, "Message": message}}
        validate_parameters(answer, model.output_shape)
        return SimpleNamespace(status_code=200, headers={}), answer

    def ListExperimentTemplates(self, nextToken: str = "0") -> Answer:  # noqa: N802, N803
        found = [{"id": f"EXT{number}", "tags": {"Name": name}} for number, name in enumerate(self.templates)]
        return self._paged("experimentTemplates", found, nextToken)

    def ListExperiments(self, nextToken: str = "0") -> Answer:  # noqa: N802, N803
        found = [self._public(each) for each in self.experiments.values()]
        return self._paged("experiments", found, nextToken)

    def StartExperiment(self, clientToken: str, experimentTemplateId: str, tags: dict[str, str]) -> Answer:  # noqa: N802, N803
        for each in self.experiments.values():
            if each["token"] == clientToken:
                return {"experiment": self._public(each)}
        template = self.templates[int(experimentTemplateId.removeprefix("EXT"))]
        if tags["Name"] != template:
            raise RefusedError("ValidationException", "the tag is not that of the template")
        made_id = f"EXP{next(self._numbers)}"
        made: Answer = {
            "id": made_id,
            "experimentTemplateId": experimentTemplateId,
            "tags": tags,
            "state": {"status": "initiating"},
            "token": clientToken,
        }
        self.experiments[made_id] = made
        return {"experiment": self._public(made)}

    def GetExperiment(self, id: str) -> Answer:  # noqa: N802
        found = self.experiments[id]
        if not self.stuck:
            state = found["state"]["status"]
            if state == "initiating" and found["tags"]["Name"] in self.doomed:
                found["state"] = {"status": "failed", "reason": "no\nright"}
            else:
                found["state"] = {"status": {"initiating": "running", "stopping": "stopped"}.get(state, state)}
        return {"experiment": self._public(found)}

    def StopExperiment(self, id: str) -> Answer:  # noqa: N802
        found = self.experiments[id]
        if found["state"]["status"] not in ("initiating", "running"):
            raise RefusedError("ValidationException", "it has ended")
        found["state"] = {"status": "stopping"}
        return {"experiment": self._public(found)}

    def _paged(self, name: str, found: list[Answer], token: str) -> Answer:
        begin = int(token)
        more = {"nextToken": str(begin + self.page)} if begin + self.page < len(found) else {}
        return {name: found[begin : begin + self.page], **more}

    @staticmethod
    def _public(experiment: Answer) -> Answer:
        return {name: value for name, value in experiment.items() if name != "token"}
