"""Pydantic's complaints about a study, told in the study's own words."""

import re
from typing import Any

from pydantic import BaseModel, ValidationError

NAME_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9_]*$"


def explain(error: ValidationError, model: type[BaseModel]) -> list[str]:
    """One line a bad key: where it stands, what is wrong, what was found, what is known there."""
    schema = model.model_json_schema()
    return [_line(item, schema) for item in error.errors()]


def _line(item: Any, schema: dict[str, Any]) -> str:
    path = [part for part in item["loc"] if part != "[key]"]
    key = ".".join(str(part) for part in path) or "(study)"
    if item["type"] == "extra_forbidden":
        known = _known_keys(schema, path[:-1])
        return f"  {key}: unknown key" + (f"; known here: {', '.join(known)}" if known else "")
    message = re.sub(r"^Value error, ", "", item["msg"])
    if item["type"] == "string_pattern_mismatch" and item["ctx"]["pattern"] == NAME_PATTERN:
        message = "must be letters, digits and underscores only, since it becomes part of a path"
    found = "" if item["type"] in ("missing", "value_error") else f" (found {item['input']!r})"
    return f"  {key}: {message}{found}"


def _known_keys(schema: dict[str, Any], path: list[Any]) -> list[str]:
    """The keys that the section at `path` knows, found by walking the schema."""
    node = schema
    for part in path:
        node = _resolve(schema, node)
        tagged = node.get("discriminator", {}).get("mapping", {}).get(part)
        patterns = list(node.get("patternProperties", {}).values())
        node = (
            ({"$ref": tagged} if tagged else None)
            or node.get("properties", {}).get(part)
            or (patterns[0] if patterns else None)
            or node.get("items")
            or {}
        )
    return list(_resolve(schema, node).get("properties", {}))


def _resolve(schema: dict[str, Any], node: dict[str, Any]) -> dict[str, Any]:
    """Follow references, and the one section in a section-or-null."""
    for option in node.get("anyOf", []):
        if "$ref" in option:
            node = option
    if "$ref" in node:
        node = schema["$defs"][node["$ref"].rsplit("/", 1)[-1]]
    return node
