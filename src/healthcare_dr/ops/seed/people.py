"""Generate fictitious patients. The same seed and index give the same patient.

Family names say that the people are fictitious, and the places do not exist.
"""

import json
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from random import Random
from typing import Any, Final


@dataclass(frozen=True)
class Culture:
    """A culture of fictitious people: a BCP 47 language, names, and places of no country.

    A family name is a prefix and a suffix, or two prefixes joined.
    """

    language: str
    spoken: str
    women: tuple[str, ...]
    men: tuple[str, ...]
    beginnings: tuple[str, ...]
    ends: tuple[str, ...]
    streets: tuple[str, ...]
    places: tuple[str, ...]
    joined: str = ""

    def given(self, gender: str) -> tuple[str, ...]:
        """Return given names for a gender: of either when it is neither."""
        return {"female": self.women, "male": self.men}.get(gender, self.women + self.men)


CULTURES: Final = (
    Culture(
        "en", "English",
        ("Zoë", "Chloë", "Imogen", "Beatrix", "Maeve", "Renée", "Ottilie"),
        ("Rupert", "Noël", "Barnaby", "Aloysius", "Casper", "Seán", "Fergus"),
        ("Mock", "Ficti", "Pretend", "Sham", "Exemplar", "Makebelieve", "Neverwas"),
        ("ington", "worth", "ley", "shire", "combe", "ford"),
        ("Placeholder Lane", "Lorem Street", "Sample Row", "Dummy Hill"),
        ("Nowhere-on-Sea", "Fablemouth", "Much Imagining", "Little Invention"),
    ),
    Culture(
        "de", "Deutsch",
        ("Käthe", "Jörgine", "Annegret", "Ülkü", "Sieglinde", "Bärbel", "Cäcilie"),
        ("Jürgen", "Götz", "Bjørn", "Ansgar", "Lütje", "Tönnies", "Eckehard"),
        ("Muster", "Beispiel", "Schein", "Erfund", "Phantasie", "Unwahr", "Märchen"),
        ("mann", "hauser", "bäcker", "müller", "größer", "feld"),
        ("Beispielweg", "Musterstraße", "Nimmergasse", "Platzhalterallee"),
        ("Nirgendheim", "Märchenbrück", "Wolkenkuckucksheim", "Bad Erdacht"),
    ),
    Culture(
        "fr", "français",
        ("Aimée", "Hélène", "Anaïs", "Solène", "Éloïse", "Françoise", "Maëlle"),
        ("Étienne", "Loïc", "Théophile", "Gaël", "Jérôme", "Benoît", "Cédric"),
        ("Fictif", "Imaginé", "Inventé", "Façade", "Exemple", "Leurre", "Chimère"),
        ("", "aux", "ville", "mont", "court", "eau"),
        ("rue de l'Exemple", "allée du Néant", "impasse du Modèle", "quai Imaginaire"),
        ("Nullepart-les-Bains", "Saint-Fictif", "Rêvigny-sous-Rien", "Châteauvent"),
    ),
    Culture(
        "es", "español",
        ("Begoña", "Inés", "Lucía", "Ángela", "Nuria", "Íñiga", "Concepción"),
        ("José", "Íñigo", "Andrés", "Ramón", "Joaquín", "Óscar", "Adrián"),
        ("Ficticio", "Inventado", "Supuesto", "Ejemplo", "Imaginero", "Fingido", "Quimera"),
        ("", "s", "nez", "tín", "dor", "ruiz"),
        ("calle del Ejemplo", "avenida de la Nada", "plaza Inventada", "camino Ficticio"),
        ("Villa Inventada", "Ningunaparte", "San Ficticio del Río", "Quimérica"),
        joined=" ",
    ),
    Culture(
        "pt", "português",
        ("Conceição", "Inês", "Luísa", "Graça", "Mônica", "Verónica", "Ágata"),
        ("João", "Simão", "Estêvão", "André", "Luís", "Gonçalo", "Tomé"),
        ("Fictício", "Inventado", "Exemplo", "Imaginário", "Fantasia", "Suposto", "Modelo"),
        ("", "s", "ão", "eiro", "ães", "inho"),
        ("rua do Exemplo", "travessa da Ilusão", "largo Imaginário", "avenida de Nenhures"),
        ("Nenhures", "Vila Fictícia", "São Ninguém", "Póvoa da Ilusão"),
        joined=" de ",
    ),
    Culture(
        "sv", "svenska",
        ("Åsa", "Märta", "Görel", "Ingegärd", "Öda", "Linnéa", "Saga"),
        ("Åke", "Göran", "Håkan", "Björn", "Sören", "Östen", "Mårten"),
        ("Påhitt", "Exempel", "Låtsas", "Övning", "Sago", "Skenbar", "Ingen"),
        ("sson", "ström", "sjö", "gård", "öberg", "kvist"),
        ("Exempelgatan", "Låtsasvägen", "Ingenstansgränd", "Övningsstigen"),
        ("Ingenstans", "Sagosund", "Påhittsköping", "Låtsasö"),
    ),
    Culture(
        "cs", "čeština",
        ("Božena", "Růžena", "Zdeňka", "Anežka", "Kateřina", "Žofie", "Ľudmila"),
        ("Jiří", "Ondřej", "Tomáš", "Luděk", "Vojtěch", "Řehoř", "Štěpán"),
        ("Vymyšlen", "Příklad", "Smyšlen", "Vzorov", "Pohádk", "Neskuteč", "Zdánliv"),
        ("ík", "ský", "čák", "ner", "oušek", "ář"),
        ("Ukázková", "Vymyšlená", "Nikdejší", "Pohádková"),
        ("Nikdeves", "Smyšlenice", "Horní Výmysl", "Pohádkov"),
    ),
    Culture(
        "tr", "Türkçe",
        ("Gülşen", "Ayşe", "Özlem", "Çiğdem", "Şule", "Gönül", "Müge"),
        ("Çağdaş", "Gökhan", "Ömer", "Şükrü", "Tuğrul", "Yiğit", "İlker"),
        ("Örnek", "Hayali", "Uydurma", "Düşsel", "Masal", "Sanal", "Kurgu"),
        ("oğlu", "er", "türk", "öz", "gil", "taş"),
        ("Örnek Sokak", "Hayal Caddesi", "Masal Yolu", "Hiçbiryer Geçidi"),
        ("Hiçbiryer", "Düşköy", "Masalkent", "Serapköy"),
    ),
)  # fmt: skip

COUNTRY: Final = "Fictivia"

# Kind, LOINC code and what it is called there, of what clinics write (https://loinc.org).
PAPERS: Final = (
    ("discharge", "18842-5", "Discharge summary"),
    ("consultation", "11488-4", "Consult note"),
    ("history", "34117-2", "History and physical note"),
    ("laboratory", "11502-2", "Laboratory report"),
    ("referral", "57133-1", "Referral note"),
)
SENTENCES: Final = (
    "Nothing in this document ever happened to anybody.",
    "The patient, who does not exist, reports imaginary hiccups since Tuesday.",
    "Examination of the invented findings was without result.",
    "Placebo tea was prescribed three times a day, to be taken in a place of choice.",
    "Laboratory values were drawn by lot and lie within the reference range of dice.",
    "A further appointment in this fictitious clinic was agreed for a day that is no date.",
    "The family, equally made up, was informed and was glad to hear it.",
    "Allergies: none known, since nobody is there to have them.",
)


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
