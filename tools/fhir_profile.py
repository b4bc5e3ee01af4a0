"""Compile the JSON Schemas of the FHIR profile into the tables of `patient_api.fhir.profile.engine`.

The compiler resolves references, merges derived types, writes out siblings of primitives (`_birthDate`) and omits
unused types. An unknown keyword is an error, so that no rule is lost.
"""

import json
import re
from pathlib import Path
from typing import Any

PROFILE = Path(__file__).parents[1] / "src" / "patient_api" / "fhir" / "profile"
DATATYPES = "datatypes.schema.json"
RESOURCES = {"Patient": "patient", "DocumentReference": "document_reference"}
# Types that the engine refers to by name.
ALWAYS = ("Element", "Structure", "string")
OBJECT_KEYWORDS = {
    "$schema", "$comment", "title", "definitions", "type", "properties", "patternProperties", "additionalProperties",
    "minProperties", "required", "dependencies", "choices", "invariants",
}  # fmt: skip

Schema = dict[str, Any]


class Compiler:
    """Collect the types of one resource."""

    def __init__(self, resource: str) -> None:
        self.root = resource
        self.types: dict[str, Any] = {}
        self.files: dict[str, Schema] = {
            name: json.loads((PROFILE / name).read_text(encoding="utf-8"))
            for name in (DATATYPES, f"{RESOURCES[resource]}.schema.json")
        }

    def table(self) -> Schema:
        """Return the compiled profile in the form of `patient_api.fhir.profile.engine`."""
        own = f"{RESOURCES[self.root]}.schema.json"
        self.types[self.root] = self.object(self.files[own], own)
        for name in ALWAYS:
            self.type_of({"$ref": f"#/definitions/{name}"}, DATATYPES)
        return {"root": self.root, "types": dict(sorted(self.types.items()))}

    def find(self, reference: str, file: str) -> tuple[str, Schema, str]:
        """Return name, schema and file of a reference in `file`."""
        other, _, name = reference.partition("#/definitions/")
        return name, self.files[other or file]["definitions"][name], other or file

    def type_of(self, schema: Schema, file: str) -> str:
        """Add the rule of the type that `schema` refers to, and return its name."""
        name, target, origin = self.find(schema["$ref"], file)
        if "anyOf" in target and target["anyOf"][0] == {"type": "null"}:
            # The engine decides where null is allowed: it depends on the list of extensions beside it.
            return self.type_of(target["anyOf"][1], origin)
        name = name if origin == DATATYPES else f"{self.root}.{name}"
        if name not in self.types:
            self.types[name] = {}  # ends the recursion of Extension and Identifier
            self.types[name].update(self.rule(target, origin, name))
        return name

    def rule(self, schema: Schema, file: str, name: str) -> Schema:
        """Return the rule of the type `name`."""
        match schema:
            case {"not": {}, "description": problem, **rest} if not rest:
                return {"is": "refused", "problem": problem}
            case {"const": code, **rest} if not rest:
                return {"is": "string", "codes": [code], "problem": f"must be {code}"}
            case {"enum": [*codes], "description": problem, **rest} if not rest:
                return {"is": "string", "codes": codes, "problem": problem, "quoted": True}
            case {"enum": [*codes], **rest} if not rest:
                return {"is": "string", "codes": codes, "problem": f"must be one of: {', '.join(codes)}"}
            case {"type": "string", "description": problem, **rest} if rest.keys() <= {"pattern", "format"}:
                if "pattern" in rest:
                    rest["pattern"] = bare(rest["pattern"])
                return {"is": "string", **rest, "problem": problem}
            case {"type": "boolean" | "number" as kind, "description": problem, **rest} if not rest:
                return {"is": kind, "problem": problem}
            case {"type": "integer", "minimum": least, "maximum": most, "description": problem, **rest} if not rest:
                return {"is": "integer", "least": least, "most": most, "problem": problem}
            case {
                "type": "object",
                "properties": known,
                "minProperties": 1,
                "propertyNames": {"pattern": names},
                "additionalProperties": {"$ref": "#/definitions/Content"},
                "description": problem,
                **rest,
            } if rest.keys() <= {"required"}:
                return {
                    "is": "structure",
                    "members": {member: self.member(known[member], file, member) for member in known},
                    "required": rest.get("required", []),
                    "pattern": bare(names),
                    "problem": problem,
                }
            case {"type": "object"}:
                return self.object(schema, file)
            case {"allOf": [{"$ref": reference}, narrower], **rest} if rest.keys() <= {"$comment"}:
                _, base, origin = self.find(reference, file)
                return self.derived(self.object(base, origin), narrower, file, name)
        raise SystemExit(f"{file}: no rule is known for {schema}")

    def object(self, schema: Schema, file: str) -> Schema:
        """Return the rule of an object with members."""
        if unknown := schema.keys() - OBJECT_KEYWORDS:
            raise SystemExit(f"{file}: unknown keywords {sorted(unknown)}")
        if schema["additionalProperties"] is not False or schema["minProperties"] != 1:
            raise SystemExit(f"{file}: an object may be empty or have unknown elements")
        members = {name: self.member(member, file, name) for name, member in schema["properties"].items()}
        for names, sibling in schema.get("patternProperties", {}).items():
            for name in names.removeprefix("^_(").removesuffix(")$").split("|"):
                kind, most = members[name]
                extended = self.member(sibling, file, f"_{name}")
                if self.types[kind]["is"] in {"object", "structure", "refused"} or extended != ("Element", most):
                    raise SystemExit(f"{file}: _{name} goes with no primitive of its kind")
                members[f"_{name}"] = extended
        rule: Schema = {"is": "object", "members": members, "required": schema.get("required", [])}
        if "choices" in schema:
            rule["choices"] = {
                base: [name for name in members if re.fullmatch(f"_?{base}[A-Z].*", name)] for base in schema["choices"]
            }
        if "dependencies" in schema:
            rule["needs"] = schema["dependencies"]
        if "invariants" in schema:
            rule["invariants"] = schema["invariants"]
        return rule

    def member(self, schema: Schema, file: str, name: str) -> tuple[str, int]:
        """Return a member's type and the maximum length of its list: 0 for no list, -1 for no limit."""
        match schema:
            case {"type": "array", "minItems": 1, "items": items, **rest} if rest.keys() <= {"maxItems"}:
                return self.type_of(items, file), rest.get("maxItems", -1)
            case {"$ref": _, **rest} if not rest:
                return self.type_of(schema, file), 0
        own = f"{self.root}.{name}"
        self.types[own] = self.rule(schema, file, own)
        return own, 0

    def derived(self, rule: Schema, narrower: Schema, file: str, name: str) -> Schema:
        """Return `rule` with narrowed members. The wider schema must accept whatever the narrower one accepts."""
        if unknown := narrower.keys() - {"properties", "required", "invariants"}:
            raise SystemExit(f"{file}: unknown keywords {sorted(unknown)}")
        for member, schema in narrower["properties"].items():
            if rule["members"][member][1] != 0:
                raise SystemExit(f"{file}: {member} is a list, and is not narrowed")
            own = f"{name}.{member}"
            self.types[own] = self.rule(schema, file, own)
            rule["members"][member] = (own, 0)
        rule["required"] = rule["required"] + narrower.get("required", [])
        if "invariants" in narrower:
            rule["invariants"] = rule.get("invariants", []) + narrower["invariants"]
        return rule


def bare(pattern: str) -> str:
    """Return `pattern` without its anchors: the engine matches whole strings, because Python's $ allows a line feed."""
    if not pattern.startswith("^") or not pattern.endswith("$"):
        raise SystemExit(f"The pattern {pattern} is not anchored.")
    re.compile(pattern)
    return pattern[1:-1]


def compiled() -> dict[Path, str]:
    """Return the files to write: one table per resource, one type per line."""
    files = {}
    for resource, name in RESOURCES.items():
        table = Compiler(resource).table()
        types = ",\n".join(
            f"{json.dumps(name)}:{json.dumps(rule, separators=(',', ':'))}" for name, rule in table["types"].items()
        )
        text = f'{{"compiled by":"tools/fhir_profile.py","root":{json.dumps(table["root"])},"types":{{\n{types}\n}}}}\n'
        files[PROFILE / "compiled" / f"{name}.json"] = text
    return files


if __name__ == "__main__":
    for path, text in compiled().items():
        path.write_text(text, encoding="utf-8")
