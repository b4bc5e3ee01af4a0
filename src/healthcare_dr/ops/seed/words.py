"""Words that fictitious people are made of: their family names say so, and nowhere on Earth has these places."""

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True)
class Culture:
    """Where somebody might come from: a BCP 47 language, names, and places of no country.

    A family name is a beginning and an end, or two beginnings joined.
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
        """Names for somebody of that gender: of either when it is neither."""
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
