"""Generate fictitious patients with Faker. The same seed and index give the same patient.

Names and places look real, so that searches meet the accents of eight languages. Everything else shows that the
patients do not exist: HL7's mark of test data, the identifier system, the country, and phone numbers and e-mail
addresses that are reserved for examples.
"""

import json
import threading
from datetime import UTC, date, datetime, timedelta
from functools import cache
from random import Random
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from faker import Faker

Resource = dict[str, Any]

# Locale of Faker: the language's BCP 47 code, its own name, and what joins the two family names that are usual there.
LOCALES: Final = {
    "en_US": ("en", "English", None),
    "de_DE": ("de", "Deutsch", None),
    "fr_FR": ("fr", "français", None),
    "es_ES": ("es", "español", " "),
    "pt_PT": ("pt", "português", " de "),
    "sv_SE": ("sv", "svenska", None),
    "cs_CZ": ("cs", "čeština", None),
    "tr_TR": ("tr", "Türkçe", None),
}
COUNTRY: Final = "Fictivia"
FICTITIOUS: Final = "urn:healthcare-dr:fictitious"
# Ages are relative to this date and not to today: a repeated seed must send the same bytes.
TODAY: Final = date(2026, 1, 1)
MIDNIGHT: Final = datetime.combine(TODAY, datetime.min.time(), UTC)
OLDEST_DAYS: Final = 102 * 365
# HL7's own mark of test data.
TEST_DATA: Final = {
    "system": "http://terminology.hl7.org/CodeSystem/v3-ActReason", "code": "HTEST", "display": "test health data",
}  # fmt: skip
# The instances of Faker are shared by threads, and each has one random generator.
_LOCK: Final = threading.Lock()


def chance(seed: int, index: int, purpose: str) -> Random:
    """Return a random generator for one purpose, so that one more value for it does not change other values."""
    return Random(f"healthcare-dr/{seed}/{index}/{purpose}")  # noqa: S311 - must be repeatable


def key_of(seed: int, index: int) -> str:
    """Return the Idempotency-Key of a patient's creation."""
    return f"hdr-seed-{seed}-patient-{index}"


def encoded(resource: Resource) -> bytes:
    """Return the resource as JSON; the same resource gives the same bytes."""
    return json.dumps(resource, ensure_ascii=False, separators=(",", ":")).encode()


def instant(moment: datetime) -> str:
    """Return a moment in UTC as a FHIR instant."""
    return moment.isoformat().replace("+00:00", "Z")


@cache
def faker_of(locale: str) -> "Faker":
    """Return the instance of Faker for a locale. Its import takes a second."""
    from faker import Faker

    return Faker(locale, use_weighting=False)


def patient(seed: int, index: int) -> Resource:
    """Return the Patient with that number (FHIR R4), without an id."""
    dice = chance(seed, index, "patient")
    locale = dice.choice(list(LOCALES))
    language, display, _ = LOCALES[locale]
    gender = dice.choices(("female", "male", "other", "unknown"), weights=(48, 48, 2, 2))[0]
    born = TODAY - timedelta(days=dice.randrange(OLDEST_DAYS))
    with _LOCK:
        fake = faker_of(locale)
        fake.seed_instance(dice.getrandbits(64))
        names = _names(dice, fake, locale, gender)
        street, city = fake.street_name(), fake.city()
    made: Resource = {
        "resourceType": "Patient",
        "meta": {"security": [TEST_DATA]},
        "identifier": [{"use": "usual", "system": FICTITIOUS, "value": f"P-{seed}-{index:07d}"}],
        "active": True,
        "name": names,
        "telecom": _telecom(dice, f"p{seed}.{index}"),
        "gender": gender,
        "birthDate": born.isoformat(),
        "address": [
            {
                "use": "home",
                "line": [f"{street} {dice.randrange(1, 200)}"],
                "city": city,
                "postalCode": f"X{dice.randrange(10_000):04d}",
                "country": COUNTRY,
            }
        ],
        "communication": [
            {
                "language": {"coding": [{"system": "urn:ietf:bcp:47", "code": language, "display": display}]},
                "preferred": True,
            }
        ],
    }
    age = (TODAY - born).days
    if dice.random() < (0.12 if age > 70 * 365 else 0.01):
        died = MIDNIGHT - timedelta(minutes=dice.randrange(max(1, age // 3) * 1440))
        made |= {"active": False, "deceasedDateTime": instant(died)}
    return made


def _names(dice: Random, fake: "Faker", locale: str, gender: str) -> list[Resource]:
    joiner = LOCALES[locale][2]
    first_name = {"female": fake.first_name_female, "male": fake.first_name_male}.get(gender, fake.first_name)

    def family() -> str:
        return str(fake.last_name() if joiner is None else f"{fake.last_name()}{joiner}{fake.last_name()}")

    given = list(dict.fromkeys(first_name() for _ in range(dice.choice((1, 1, 2)))))
    names: list[Resource] = [{"use": "official", "family": family(), "given": given}]
    further = dice.random()
    if further < 0.15:
        names.append({"use": "maiden", "family": family(), "given": given})
    elif further < 0.25:
        names.append({"use": "nickname", "given": [given[0][: max(2, len(given[0]) // 2)]]})
    if dice.random() < 0.05:
        names[0]["prefix"] = ["Dr."]
    return names


def _telecom(dice: Random, mailbox: str) -> list[Resource]:
    # Numbers that regulators reserve for fiction: 555-0100 to 0199 in North America, Ofcom's for drama in Britain.
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
