"""Check arguments and references against the schema of the newest provider, which the bindings were generated from.

The platform accepts hashicorp/aws from 5.100 up to, not including, 7.0, and runs here with 5.100.0. The bindings carry
the schema of a 6.x release: for each resource type its arguments, their types, which of them are required, and the
attributes to which other resources can refer. It is read from the source text of the bindings, because importing them
starts Node. The bindings do not mark what is deprecated: `DEPRECATED` and `KEPT` do, from the documentation of the
provider.
"""

import ast
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from healthcare_dr.errors import SynthesisError
from healthcare_dr.infra.lint.model import Platform, Problems, rule

PACKAGE = "cdktn_provider_aws"
# Of Terraform itself, for every resource.
META_ARGUMENTS = {"//", "connection", "count", "depends_on", "for_each", "lifecycle", "provider", "provisioner"}

DEPRECATED = {
    "aws_cloudwatch_event_rule.is_enabled": "use state",
    "aws_dynamodb_table.global_secondary_index.hash_key": "use key_schema",
    "aws_dynamodb_table.global_secondary_index.range_key": "use key_schema",
    "aws_iam_role.inline_policy": "use aws_iam_role_policy",
    "aws_iam_role.managed_policy_arns": "use aws_iam_role_policy_attachment",
    "aws_lambda_function.replace_security_groups_on_destroy": "it has no effect",
    **{
        f"aws_s3_bucket.{argument}": f"use aws_s3_bucket_{kind}"
        for argument, kind in {
            "acceleration_status": "accelerate_configuration",
            "acl": "acl",
            "cors_rule": "cors_configuration",
            "grant": "acl",
            "lifecycle_rule": "lifecycle_configuration",
            "logging": "logging",
            "object_lock_configuration": "object_lock_configuration",
            "policy": "policy",
            "replication_configuration": "replication_configuration",
            "request_payer": "request_payment_configuration",
            "server_side_encryption_configuration": "server_side_encryption_configuration",
            "versioning": "versioning",
            "website": "website_configuration",
        }.items()
    },
    "aws_s3_bucket_lifecycle_configuration.rule.prefix": "use filter",
    "aws_s3_bucket_replication_configuration.rule.prefix": "use filter",
}
"""Arguments of the resource types used here that 6.x still accepts, with a warning; and what replaces them."""

KEPT = {
    f"aws_dynamodb_table.global_secondary_index.{key}": "5.100 has no key_schema, and 6.x shows it as changed"
    for key in ("hash_key", "range_key")
}
"""The deprecated arguments that the platform uses, with the reason."""

_CLASS = re.compile(
    r"^class (?P<name>\w+)(?:\((?P<base>[^)]*)\))?:\n"
    r"    def __init__(?P<signature>\(\s*self,\s*\*,\s.*?\)) -> None:\n"
    r"        '''(?P<documentation>.*?)'''",
    re.DOTALL | re.MULTILINE,
)
_LINK = re.compile(r"/hashicorp/aws/(?P<version>[\d.]+)/docs/")
_DOCUMENTED = re.compile(r":param (?P<parameter>\w+): .*?/docs/[\w-]+/\w+#(?P<name>\w+) ")
_PROPERTY = re.compile(r"^    @builtins\.property\n(?:    @.*\n)*    def (\w+)\(", re.MULTILINE)
_BLOCK = re.compile(r"'([A-Z]\w*)'")
_EXPRESSION = re.compile(r"\$\{[^}]*\}")
_REFERENCE = re.compile(
    r"(?<![\w.])(?P<kind>(?:data\.)?aws_[a-z0-9_]+)\.[A-Za-z0-9_-]+(?:\[\*\])?\.(?P<attribute>[a-z0-9_]+)"
)


@dataclass(frozen=True)
class ArgumentSchema:
    """One argument of a block. `block` is the class of a nested block, `repeated` whether there may be several."""

    type: str
    required: bool
    repeated: bool
    block: str | None


@dataclass(frozen=True)
class TypeSchema:
    """A resource type or data source: the arguments by block, and the attributes."""

    root: str
    blocks: Mapping[str, Mapping[str, ArgumentSchema]]
    attributes: frozenset[str]
    version: str


@rule("D8")
def provider_schema(platform: Platform) -> Problems:
    """The newest provider that the constraint allows refuses or warns about an argument, or lacks an attribute."""
    for resource in platform.everything:
        schema = schema_of(resource.kind, is_data=resource.is_data)
        if schema is None:
            yield resource.address, f"the provider has no {resource.kind}"
            continue
        body = {name: value for name, value in resource.body.items() if name not in META_ARGUMENTS}
        for problem in _problems(schema, schema.root, body, resource.kind):
            yield resource.address, problem
    for stack, document in platform.documents.items():
        for section in ("resource", "data", "output"):
            for problem in _reference_problems(document.get(section, {})):
                yield stack, problem


def _problems(schema: TypeSchema, block: str, body: Mapping[str, Any], path: str) -> Iterator[str]:
    arguments = schema.blocks[block]
    for name, argument in arguments.items():
        if argument.required and name not in body:
            yield f"{path}.{name} is required by {schema.version}"
    for name, value in body.items():
        inner = f"{path}.{name}"
        if name not in arguments:
            yield f"{inner} is unknown to {schema.version}"
            continue
        if inner in DEPRECATED and inner not in KEPT:
            yield f"{inner} is deprecated in 6.x: {DEPRECATED[inner]}"
        yield from _value_problems(schema, arguments[name], value, inner)


def _value_problems(schema: TypeSchema, argument: ArgumentSchema, value: Any, path: str) -> Iterator[str]:
    if argument.block is not None:
        blocks = value if isinstance(value, list) else [value]
        if len(blocks) > 1 and not argument.repeated:
            yield f"{path} may stand once; there are {len(blocks)}"
        for inner in blocks:
            if isinstance(inner, Mapping):
                yield from _problems(schema, argument.block, inner, path)
            else:
                yield f"{path} is {inner!r}, not a block"
    elif not _fits(argument, value):
        yield f"{path} is {value!r}, not of the type {argument.type}"


def _fits(argument: ArgumentSchema, value: Any) -> bool:
    if isinstance(value, str) and _EXPRESSION.fullmatch(value):
        return True
    of = argument.type.removeprefix("list of ").removeprefix("map of ")
    if argument.type.startswith("list"):
        return isinstance(value, list) and all(_is(of, item) for item in value)
    if argument.type.startswith("map"):
        return isinstance(value, Mapping) and all(_is(of, item) for item in value.values())
    return _is(of, value)


def _is(kind: str, value: Any) -> bool:
    if isinstance(value, str) and _EXPRESSION.fullmatch(value):
        return True
    if kind == "number":
        return isinstance(value, int | float) and not isinstance(value, bool)
    return isinstance(value, bool if kind == "bool" else str)


def _reference_problems(value: Any) -> Iterator[str]:
    for kind, attribute in sorted(set(_references(value))):
        schema = schema_of(kind.removeprefix("data."), is_data=kind.startswith("data."))
        if schema is None or attribute not in schema.attributes:
            yield f"refers to {kind}.{attribute}, which the provider does not have"


def _references(value: Any) -> Iterator[tuple[str, str]]:
    """Yield the types and attributes of other resources in a value."""
    if isinstance(value, Mapping):
        value = [inner for name, inner in value.items() if name != "depends_on"]
    if isinstance(value, list):
        for item in value:
            yield from _references(item)
    elif isinstance(value, str):
        for expression in _EXPRESSION.findall(value):
            yield from ((found["kind"], found["attribute"]) for found in _REFERENCE.finditer(expression))


@cache
def schema_of(kind: str, *, is_data: bool) -> TypeSchema | None:
    """Return the schema of a resource type or data source; None if the provider has none."""
    name = f"{'data_' if is_data else ''}{kind if is_data else kind.removeprefix('aws_')}"
    module = _bindings() / name / "__init__.py"
    if not module.is_file():
        return None
    text = module.read_text(encoding="utf-8")
    classes = {found["name"]: found for found in _CLASS.finditer(text)}
    (root,) = (found["name"] for found in classes.values() if "TerraformMetaArguments" in (found["base"] or ""))
    return TypeSchema(
        root=root,
        blocks={name: dict(_arguments(found)) for name, found in classes.items()},
        attributes=frozenset(
            attribute
            for attribute in _PROPERTY.findall(_section(text, root.removesuffix("Config")))
            if not attribute.endswith("_input")  # the value in a program, not an attribute of the provider
        ),
        version=next(_LINK.finditer(text))["version"],
    )


def _arguments(found: re.Match[str]) -> Iterator[tuple[str, ArgumentSchema]]:
    """Yield the arguments of a class by their names in Terraform, which its documentation links to."""
    names = {link["parameter"]: link["name"] for link in _DOCUMENTED.finditer(found["documentation"])}
    signature = next(
        node for node in ast.walk(ast.parse(f"def made{found['signature']}: ...")) if isinstance(node, ast.arguments)
    )
    for parameter in signature.kwonlyargs:
        if parameter.arg in names:
            annotation = ast.unparse(parameter)
            block = _BLOCK.search(annotation)
            kind = "number" if "jsii.Number" in annotation else "bool" if "builtins.bool" in annotation else "string"
            several = "list of " if "typing.Sequence[" in annotation else ""
            yield (
                names[parameter.arg],
                ArgumentSchema(
                    type="block" if block else ("map of " if "typing.Mapping[" in annotation else several) + kind,
                    required="typing.Optional[" not in annotation,
                    repeated=bool(several),
                    block=block and block[1],
                ),
            )


def _section(text: str, name: str) -> str:
    """Return the source text of a class."""
    start = text.index(f"\nclass {name}(")
    return text[start : text.find("\n@jsii", start)]


@cache
def _bindings() -> Path:
    found = find_spec(PACKAGE)
    if found is None or found.origin is None:
        raise SynthesisError(f"{PACKAGE} is not installed: install the requirements with `make setup`")
    return Path(found.origin).parent
