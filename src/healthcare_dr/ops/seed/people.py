"""Patients who do not exist: plausible in form, plainly fictitious in content, the same for the same seed and index."""

import json
from datetime import UTC, date, datetime, timedelta
from random import Random
from typing import Any, Final

from healthcare_dr.ops.seed.words import COUNTRY, CULTURES, Culture

Resource = dict[str, Any]

FICTITIOUS: Final = "urn:healthcare-dr:fictitious"
# Ages are counted from here, not from today: a repeated seed must send the very same bytes.
TODAY: Final = date(2026, 1, 1)
MIDNIGHT: Final = datetime.combine(TODAY, datetime.min.time(), UTC)
OLDEST_DAYS: Final = 102 * 365
# HL7's own mark of test data.
TEST_DATA: Final = {
    "system": "http://terminology.hl7.org/CodeSystem/v3-ActReason", "code": "HTEST", "display": "test health data",
}  # fmt: skip


def chance(seed: int, index: int, purpose: str) -> Random:
    """Dice of their own for each purpose: one more throw for one thing changes nothing else."""
    return Random(f"healthcare-dr/{seed}/{index}/{purpose}")  # noqa: S311 - to be repeatable is the point


def key_of(seed: int, index: int) -> str:
    """The Idempotency-Key of a patient's creation."""
    return f"hdr-seed-{seed}-patient-{index}"


def encoded(resource: Resource) -> bytes:
    """As it is sent: the same bytes for the same resource."""
    return json.dumps(resource, ensure_ascii=False, separators=(",", ":")).encode()


def patient(seed: int, index: int) -> Resource:
    """The Patient with that number (FHIR R4), without an id."""
    dice = chance(seed, index, "patient")
    culture = dice.choice(CULTURES)
    gender = dice.choices(("female", "male", "other", "unknown"), weights=(48, 48, 2, 2))[0]
    family, given = _family(dice, culture), dice.sample(culture.given(gender), k=dice.choice((1, 1, 2)))
    born = TODAY - timedelta(days=dice.randrange(OLDEST_DAYS))
    made: Resource = {
        "resourceType": "Patient",
        "meta": {"security": [TEST_DATA]},
        "identifier": [{"use": "usual", "system": FICTITIOUS, "value": f"P-{seed}-{index:07d}"}],
        "active": True,
        "name": _names(dice, culture, family=family, given=given),
        "telecom": _telecom(dice, f"p{seed}.{index}"),
        "gender": gender,
        "birthDate": born.isoformat(),
        "address": [_address(dice, culture)],
        "communication": [_communication(culture)],
    }
    if (died := _death(dice, born)) is not None:
        made |= {"active": False, "deceasedDateTime": died}
    return made


def _family(dice: Random, culture: Culture) -> str:
    one, other = dice.sample(culture.beginnings, k=2)
    return (
        f"{one}{culture.joined}{other}" if culture.joined and dice.random() < 0.4 else one + dice.choice(culture.ends)
    )


def _names(dice: Random, culture: Culture, *, family: str, given: list[str]) -> list[Resource]:
    names: list[Resource] = [{"use": "official", "family": family, "given": given}]
    further = dice.random()
    if further < 0.15:
        names.append({"use": "maiden", "family": _family(dice, culture), "given": given})
    elif further < 0.25:
        names.append({"use": "nickname", "given": [given[0][: max(2, len(given[0]) // 2)]]})
    if dice.random() < 0.05:
        names[0]["prefix"] = ["Dr."]
    return names


def _telecom(dice: Random, mailbox: str) -> list[Resource]:
    # Numbers that regulators keep free for fiction: 555-0100 to 0199 in North America, Ofcom's for drama in Britain.
    number = dice.choice(
        (
            f"+1 {dice.choice((206, 312, 415, 617))} 555 01{dice.randrange(100):02d}",
            f"+44 1632 960{dice.randrange(1000):03d}",
        )
    )
    found: list[Resource] = [{"system": "phone", "value": number, "use": dice.choice(("home", "mobile"))}]
    if dice.random() < 0.6:
        found.append({"system": "email", "value": f"{mailbox}@example.org", "use": "home"})
    return found


def _address(dice: Random, culture: Culture) -> Resource:
    return {
        "use": "home",
        "line": [f"{dice.choice(culture.streets)} {dice.randrange(1, 200)}"],
        "city": dice.choice(culture.places),
        "postalCode": f"X{dice.randrange(10_000):04d}",
        "country": COUNTRY,
    }


def _communication(culture: Culture) -> Resource:
    coding = {"system": "urn:ietf:bcp:47", "code": culture.language, "display": culture.spoken}
    return {"language": {"coding": [coding]}, "preferred": True}


def _death(dice: Random, born: date) -> str | None:
    age = (TODAY - born).days
    if dice.random() >= (0.12 if age > 70 * 365 else 0.01):
        return None
    died = MIDNIGHT - timedelta(minutes=dice.randrange(max(1, age // 3) * 1440))
    return died.isoformat().replace("+00:00", "Z")
