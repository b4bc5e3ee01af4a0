"""Commands of the runbooks where AWS differs from the embedded AWS: responses have pages, DNS does not respond, or one
region lacks items of the other."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from support.runbook_pages import commands
from support.shell import CommandResult, Shell, opened
from unit.runbook_stand_ins import FOLDER, Items, buckets, command, logs, serving, tables, typed

EAST, WEST = "x.execute-api.us-east-1.amazonaws.com.", "y.execute-api.us-west-2.amazonaws.com."
SILENT = ";; communications error to 192.0.2.1#53: timed out"
LEFT, BACK = (
    f'until seen=$(dns); grep -q us-west-2 <<< "$seen" && {rest}'
    for rest in ("! grep -q us-east-1", "grep -q us-east-1")
)


@pytest.mark.requirement("C1")
@pytest.mark.parametrize(
    ("page", "beginning", "answers"),
    [
        ("automatic-failover", LEFT, ["", SILENT, EAST, f"{EAST}\n{WEST}", WEST]),
        ("automatic-failover", BACK, ["", SILENT, EAST, WEST, f"{SILENT}\n{WEST}", f"{EAST}\n{WEST}"]),
        ("failback", BACK, ["", SILENT, EAST, WEST, f"{SILENT}\n{WEST}", f"{EAST}\n{WEST}"]),
    ],
)
def test_dns_without_answer_ends_no_wait(page: str, beginning: str, answers: list[str], tmp_path: Path) -> None:
    for number, answer in enumerate(answers, start=1):
        (tmp_path / f"{number}").write_text(answer, encoding="utf-8")
    with opened({"PATH": os.environ["PATH"]}) as shell:
        shell.run(f"cd {tmp_path}; sleep() {{ :; }}; dns() {{ echo >> asked; cat $(wc -l < asked); }}")
        assert typed(shell, page, beginning) == answers[-1].split("\n")
    assert (tmp_path / "asked").read_text(encoding="utf-8") == "\n" * len(answers)


def prepared_on_aws(shell: Shell) -> CommandResult:
    page = (FOLDER / "README.md").read_text(encoding="utf-8")
    return [shell.run(each.text) for each in commands(page, on_aws=True)][-1]


@pytest.mark.trap(28)
def test_on_aws_the_zones_own_server_is_queried_and_cached(tmp_path: Path) -> None:
    outputs = {
        "ApiDomain": "api.dr.clinic-one.org",
        "PrimaryApiEndpoint": "https://e",
        "SecondaryApiEndpoint": "https://w",
        "NameServers": "ns-1.x,ns-2.x",
    }
    (tmp_path / "outputs").write_text(json.dumps(outputs), encoding="utf-8")
    addresses = ["https://e", "https://w", f"24 {EAST}"]
    with opened({"PATH": os.environ["PATH"], "AT": "@127.0.0.1 -p 1"}) as shell:
        shell.run(f'cd {tmp_path}; mkdir .hdr; dig() {{ echo "$*" >> asked; echo {EAST}; }}')
        shell.run('hdr() { cp outputs "$5"; }; aws() { echo 123456789012; }')
        first, *rest = [line.strip() for line in prepared_on_aws(shell).lines if line]
        assert (first, rest) == ("123456789012 api.dr.clinic-one.org @ns-1.x", addresses)
        shell.run("hdr() { false; }; aws() { false; }")
        assert [line.strip() for line in prepared_on_aws(shell).lines if line][1:] == addresses
    assert {asked.split()[-3] for asked in (tmp_path / "asked").read_text(encoding="utf-8").splitlines()} == {"@ns-1.x"}


@pytest.mark.parametrize(
    ("pages", "message", "moment"),
    [
        ([[], [1_700_000_100_999, 1_700_000_090_999], [], [1_700_000_095_000]], "2023-11-14T22:14:35Z", "1700000075"),
        ([[], []], "no damage found: stop here", ""),
    ],
)
def test_first_damage_is_found_on_any_page(pages: list[list[int]], message: str, moment: str) -> None:
    aws = logs(*pages)
    with serving(aws) as variables, opened({**variables, "MOMENT": "1"}) as shell:
        assert typed(shell, "total-loss", "damage() {", "unset MOMENT", '[ -n "$FIRST" ]') == [message]
        assert shell.run('echo "moment $MOMENT"').lines[0] == f"moment {moment}"
    assert len(aws.requests) == len(pages)


@pytest.mark.parametrize("on_aws", [False, True])
def test_nothing_is_restored_without_a_moment(on_aws: bool) -> None:
    restore = command("total-loss", "aws dynamodb restore-table-to-point-in-time", on_aws=on_aws)
    aws = tables({"t": []})
    with serving(aws) as variables, opened({**variables, "TABLE": "t"}) as shell:
        assert "is from step 3" in "".join(shell.run(f"( {restore} )").lines)
    assert aws.requests == []


def item(pk: str, sk: str, text: str = "") -> dict[str, Any]:
    return {"pk": {"S": pk}, "sk": {"S": sk}, "resource": {"S": text}}


HEAD, CHANGED, LOST = item("t#P#1", "head#us-west-2"), item("t#P#1", "v#1", "right"), item("t#P#2", "v#1", "ü")
LINEAGE = item("t#P#1", "l#1", "right")
FLAG = item("$platform#drain", "us-east-1")
TRAIL = [item("$platform#2026-11-24T20#05", "2026-11-24T20:11#1"), item("t#2026-11-24T20#01", "2026-11-24T20:12#2")]


@pytest.mark.parametrize(
    ("then", "now", "back"),
    [
        (
            [item("$platform#heartbeat", "us-west-2", "old"), FLAG, HEAD, LINEAGE, CHANGED, LOST],
            [
                item("$platform#heartbeat", "us-west-2", "new"),
                HEAD,
                *(changed | {"resource": {"S": "wrong"}} for changed in (LINEAGE, CHANGED)),
            ],
            [LINEAGE, CHANGED, LOST],
        ),
        (TRAIL, TRAIL[1:], TRAIL[:1]),
    ],
    ids=["records", "trail"],
)
def test_items_of_a_drain_are_not_restored(then: Items, now: Items, back: Items) -> None:
    aws = tables({"t": now, "t-restored": then})
    compare = ("export LC_ALL=C", "hashes() {", "hashes us-west-2", "keys() {", 'comm -23 "$WORK', "comm -23 <(")
    with serving(aws) as variables, opened({**variables, "TABLE": "t"}) as shell:
        assert typed(shell, "total-loss", *compare) == [str(len(back))]
        assert typed(shell, "total-loss", "while read -r pk sk") == []
        shell.run('echo "t#P#9 v#1" > "$WORK/back"')
        assert typed(shell, "total-loss", "while read -r pk sk")[-1] == "NOT PUT BACK: t#P#9 v#1"
        shell.run('rm -r "$WORK"')
    assert [body["Item"] for body in aws.bodies_of("PutItem")] == back


def test_delete_marker_is_found_on_any_page_and_removed() -> None:
    mine, other, foreign = "documents/clinic/4b1d", "documents/clinic/5c2e", "documents/clinic-2/6d3f"
    east, west = "hdr-documents-1-us-east-1-it", "hdr-documents-1-us-west-2-it"
    aws = buckets({east: [], west: [mine, other, foreign]})
    variables = {"TENANT": "clinic", "ACCOUNT": "1", "SUFFIX": "it", "BUCKET": west}
    with serving(aws) as own, opened({**own, **variables}) as shell:
        shell.run(command("lost-documents", "deleted() {"))
        assert [line.split()[0] for line in shell.run("deleted").lines if line] == [mine, other]
        assert typed(shell, "lost-documents", "KEY=$(deleted") == [mine]
        shell.run(command("lost-documents", "for region in us-east-1 us-west-2; do bucket="))
    assert [name for name, _ in aws.requests if name.startswith("DELETE")] == [f"DELETE /{west}/{mine}?versionId=m"]
