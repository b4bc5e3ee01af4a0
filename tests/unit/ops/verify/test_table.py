"""What an operator reads."""

import io

from rich.console import Console

from healthcare_dr.ops.verify.check import Finding, Verification
from healthcare_dr.ops.verify.report import print_verification


def printed(*findings: Finding, suffix: str = "dev") -> str:
    console = Console(file=io.StringIO(), width=160)
    print_verification(
        console, Verification(target="embedded", suffix=suffix, checks=("a", "b"), findings=findings, seconds=1.5)
    )
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_findings_are_rows_and_the_result_is_the_last_line() -> None:
    wrong = Finding(check="bucket-policy", severity="failure", region="us-west-2", problem="[no] policy", why="because",
                    numbers=("C6", "trap 19"), fix="mend it")  # fmt: skip
    text = printed(wrong)
    for part in ("failure", "bucket-policy", "C6, trap 19", "us-west-2: [no] policy", "because", "mend it"):
        assert part in text
    assert text.splitlines()[-1] == (
        "recovery would NOT work as designed now (embedded, suffix dev): 2 checks in 1.5 s"
    )


def test_fix_command_names_its_environment() -> None:
    wrong = Finding(check="c", severity="failure", region="", problem="p", why="w", numbers=(), fix="`hdr deploy`")
    assert "→ `hdr deploy`" in printed(wrong)
    assert "→ `ENVIRONMENT_SUFFIX=bee hdr deploy`" in printed(wrong, suffix="bee")


def test_no_findings_prints_one_line() -> None:
    assert printed() == "recovery would work now (embedded, suffix dev): 2 checks in 1.5 s\n"
