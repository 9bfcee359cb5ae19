"""JSON schemas as a reader wants them: what a value may be, and a table of an object's fields."""

import json
from collections.abc import Mapping
from typing import Any

from markup import anchor, code, plain, table

Schema = Mapping[str, Any]

NAMES = {"binary": "bytes", "base64": "string in base64"}


def kind(schema: Schema) -> str:
    """What a value may be, with its bounds; a name of the page leads to that."""
    if "$ref" in schema:
        name = str(schema["$ref"]).rsplit("/", 1)[-1]
        return f"[{name}]({anchor(name)})"
    if "anyOf" in schema:
        return " or ".join(map(kind, schema["anyOf"]))
    if "const" in schema or "enum" in schema:
        return " or ".join(code(json.dumps(value)) for value in schema.get("enum", [schema.get("const")]))
    if schema["type"] == "array":
        return _array(schema)
    if schema["type"] == "object":
        inner = schema.get("additionalProperties")
        return f"object of {kind(inner)}" if isinstance(inner, dict) else "object"
    return _bounded(NAMES.get(schema.get("format") or schema.get("contentEncoding", ""), schema["type"]), schema)


def fields(schema: Schema, *, of_request: bool = False) -> str:
    """A table of an object's fields. Of a request it says which are required, and the defaults of the others."""
    required = schema.get("required", ()) if of_request else ()
    rows = [
        (code(name), kind(given(field) if of_request else field), meaning(field, name in required))
        for name, field in _properties(schema)
    ]
    return table(("field", "type", ""), rows)


def meaning(field: Schema, required: bool = False) -> str:
    """What a field is for, whether it must be given, and what it is where it is not."""
    words = [plain(field["description"])] if field.get("description") else []
    if required:
        words.insert(0, "Required.")
    elif field.get("default") not in (None, "", [], {}):
        words.append(f"Default: {code(json.dumps(field['default']))}.")
    return " ".join(words)


def given(schema: Schema) -> Schema:
    """What may be given for a value that may be left out: null says no more than that."""
    kinds = [each for each in schema.get("anyOf", []) if each != {"type": "null"}]
    return kinds[0] if len(kinds) == 1 else schema


def example(document: object) -> str:
    """A document in a block of its own."""
    return f"```json\n{json.dumps(document, indent=2, ensure_ascii=False)}\n```\n\n"


def _properties(schema: Schema) -> list[tuple[str, Schema]]:
    return list(schema.get("properties", {}).items())


def _array(schema: Schema) -> str:
    if "prefixItems" in schema:
        return f"array of {', '.join(map(kind, schema['prefixItems']))}"
    return _bounded(f"array of {kind(schema['items'])}", schema)


def _bounded(what: str, schema: Schema) -> str:
    least, most = schema.get("minimum"), schema.get("maximum", schema.get("maxItems", schema.get("maxLength")))
    above = schema.get("exclusiveMinimum")
    if least is not None and most is not None:
        return f"{what}, {least:g} to {_number(most)}"
    bounds = (
        None if least is None else f"{least:g} or more",
        None if above is None else f"above {above:g}",
        None if most is None else f"at most {_number(most)}",
    )
    return ", ".join(filter(None, (what, *bounds)))


def _number(value: float) -> str:
    """The same bound is a float in one place of the document and an int in another."""
    return str(int(value)) if value == int(value) else f"{value:g}"
