"""Resources as pydantic models: the elements that the platform's profile of R4 knows, without its invariants."""

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

Code = Annotated[str, Field(pattern=r"^[^\s]+(\s[^\s]+)*$")]
Date = Annotated[str, Field(pattern=r"^\d{4}(-(0[1-9]|1[0-2])(-(0[1-9]|[12]\d|3[01]))?)?$")]
Id = Annotated[str, Field(pattern=r"^[A-Za-z0-9\-.]{1,64}$")]


class Element(BaseModel):
    """What every element may have."""

    model_config = ConfigDict(extra="forbid")

    id: str | None = None
    extension: list[dict[str, Any]] | None = None


class Period(Element):
    start: str | None = None
    end: str | None = None


class Coding(Element):
    system: str | None = None
    version: str | None = None
    code: Code | None = None
    display: str | None = None
    userSelected: bool | None = None


class CodeableConcept(Element):
    coding: list[Coding] | None = None
    text: str | None = None


class Reference(Element):
    reference: str | None = None
    type: str | None = None
    identifier: "Identifier | None" = None
    display: str | None = None


class Identifier(Element):
    use: Literal["usual", "official", "temp", "secondary", "old"] | None = None
    type: CodeableConcept | None = None
    system: str | None = None
    value: str | None = None
    period: Period | None = None
    assigner: Reference | None = None


class HumanName(Element):
    use: Literal["usual", "official", "temp", "nickname", "anonymous", "old", "maiden"] | None = None
    text: str | None = None
    family: str | None = None
    given: list[str] | None = None
    prefix: list[str] | None = None
    suffix: list[str] | None = None
    period: Period | None = None


class ContactPoint(Element):
    system: Literal["phone", "fax", "email", "pager", "url", "sms", "other"] | None = None
    value: str | None = None
    use: Literal["home", "work", "temp", "old", "mobile"] | None = None
    rank: Annotated[int, Field(gt=0)] | None = None
    period: Period | None = None


class Address(Element):
    use: Literal["home", "work", "temp", "old", "billing"] | None = None
    type: Literal["postal", "physical", "both"] | None = None
    text: str | None = None
    line: list[str] | None = None
    city: str | None = None
    district: str | None = None
    state: str | None = None
    postalCode: str | None = None
    country: str | None = None
    period: Period | None = None


class Attachment(Element):
    contentType: Code | None = None
    language: Code | None = None
    data: str | None = None
    url: str | None = None
    size: Annotated[int, Field(ge=0)] | None = None
    hash: str | None = None
    title: str | None = None
    creation: str | None = None


class Meta(Element):
    versionId: Id | None = None
    lastUpdated: datetime | None = None
    source: str | None = None
    profile: list[str] | None = None
    security: list[Coding] | None = None
    tag: list[Coding] | None = None


class Resource(Element):
    """What every resource may have."""

    meta: Meta | None = None
    implicitRules: str | None = None
    language: Code | None = None
    text: dict[str, Any] | None = None


class Contact(Element):
    relationship: list[CodeableConcept] | None = None
    name: HumanName | None = None
    telecom: list[ContactPoint] | None = None
    address: Address | None = None
    gender: Literal["male", "female", "other", "unknown"] | None = None
    organization: Reference | None = None
    period: Period | None = None


class Communication(Element):
    language: CodeableConcept
    preferred: bool | None = None


class Link(Element):
    other: Reference
    type: Literal["replaced-by", "replaces", "refer", "seealso"]


class Patient(Resource):
    resourceType: Literal["Patient"]
    identifier: list[Identifier] | None = None
    active: bool | None = None
    name: list[HumanName] | None = None
    telecom: list[ContactPoint] | None = None
    gender: Literal["male", "female", "other", "unknown"] | None = None
    birthDate: Date | None = None
    deceasedBoolean: bool | None = None
    deceasedDateTime: str | None = None
    address: list[Address] | None = None
    maritalStatus: CodeableConcept | None = None
    multipleBirthBoolean: bool | None = None
    multipleBirthInteger: int | None = None
    photo: list[Attachment] | None = None
    contact: list[Contact] | None = None
    communication: list[Communication] | None = None
    generalPractitioner: list[Reference] | None = None
    managingOrganization: Reference | None = None
    link: list[Link] | None = None


class Content(Element):
    attachment: Attachment
    format: Coding | None = None


class DocumentReference(Resource):
    resourceType: Literal["DocumentReference"]
    identifier: list[Identifier] | None = None
    status: Literal["current", "superseded", "entered-in-error"]
    docStatus: Literal["preliminary", "final", "amended", "entered-in-error"] | None = None
    type: CodeableConcept | None = None
    category: list[CodeableConcept] | None = None
    subject: Reference
    date: datetime | None = None
    author: list[Reference] | None = None
    description: str | None = None
    securityLabel: list[CodeableConcept] | None = None
    content: Annotated[list[Content], Field(min_length=1)]
