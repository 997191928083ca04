"""Types of the contract in words: what a field may hold, for people, with links to the types that have fields.

Pure: schemas of the expanded contract go in, HTML comes out. Everything from the contract is escaped here.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import msgspec

from atp.specs.loading import documents

COMPONENTS: Final = "#/components/schemas/"
Fields = Mapping[str, Any]
Schema = Fields | bool
"""`true` is a schema too: anything."""


def text(value: object) -> str:
    """Escape for HTML."""
    return html.escape(str(value))


def prose(value: str) -> str:
    """Turn the contract's Markdown (paragraphs, `code`, **strong**) into HTML."""
    return "".join(
        f"<p>{inline(paragraph)}</p>" for paragraph in re.split(r"\n\s*\n", value.strip()) if paragraph
    )


def inline(value: str) -> str:
    """As `prose`, for what stands inside a paragraph."""
    found = re.sub(r"`([^`]+)`", r"<code>\1</code>", text(" ".join(value.split())))
    return re.sub(r"\*\*([^*]+)\*\*", r"<strong>\1</strong>", found)


def resolved(schema: Schema) -> Fields:
    """Follow references; what stands beside one goes before what it leads to."""
    if isinstance(schema, bool):
        return {}
    while reference := schema.get("$ref"):
        found: Any = documents().openapi
        for step in reference.removeprefix("#/").split("/"):
            found = found[step]
        schema = {**found, **{name: value for name, value in schema.items() if name != "$ref"}}
    return schema


def name_of(schema: Schema) -> str | None:
    """Return the name of a type that has an entry of its own: a component with fields."""
    name = "" if isinstance(schema, bool) else str(schema.get("$ref", "")).removeprefix(COMPONENTS)
    return name if name and "/" not in name and has_fields(resolved(schema)) else None


def has_fields(schema: Fields) -> bool:
    """Tell whether a schema names fields, itself or in one of its parts."""
    return bool(schema.get("properties") or schema.get("allOf") or schema.get("oneOf"))


def kind(schema: Schema) -> str:
    """Return a type in a few words: its name as a link, or what it is and its bounds."""
    if name := name_of(schema):
        return f'<a href="#type-{text(name)}">{text(name)}</a>'
    schema = resolved(schema)
    for word, between in (("oneOf", " or "), ("anyOf", " or "), ("allOf", " and ")):
        if parts := schema.get(word):
            return between.join(dict.fromkeys(kind(part) for part in parts))
    if choices := schema.get("enum"):
        return "one of " + ", ".join(f"<code>{text(_json(choice))}</code>" for choice in choices)
    if "const" in schema:
        return f"<code>{text(_json(schema['const']))}</code>"
    types = schema.get("type", "anything")
    words = " or ".join(types) if isinstance(types, list) else str(types)
    if "items" in schema:
        words = f"array of {kind(schema['items'])}"
    return ", ".join([words, *_bounds(schema)])


def _bounds(schema: Fields) -> Iterator[str]:
    if schema.get("format") == "date-time":
        yield "RFC 3339 time"
        return
    for least, most, unit in (
        ("minLength", "maxLength", " characters"),
        ("minItems", "maxItems", " items"),
        ("minimum", "maximum", ""),
    ):
        if least in schema and most in schema:
            yield f"{schema[least]:,} to {schema[most]:,}{unit}"
        elif most in schema:
            yield f"at most {schema[most]:,}{unit}"
        elif least in schema:
            yield f"at least {schema[least]:,}{unit}"
    if rule := schema.get("x-atp-pattern"):
        yield inline(str(rule))


def fields(schema: Schema) -> str:
    """Return the table of an object's fields, with those of objects that have no entry of their own below them."""
    rows = "".join(_rows(schema, ""))
    return (
        f"<table><thead><tr><th>Field<th>Type<th>Meaning</thead><tbody>{rows}</tbody></table>" if rows else ""
    )


def _rows(schema: Schema, prefix: str) -> Iterator[str]:
    schema = resolved(schema)
    for part in (*schema.get("allOf", ()), *schema.get("oneOf", ())):
        if name_of(part):
            yield f"<tr><td colspan=3>the fields of {kind(part)}"
        else:
            yield from _rows(part, prefix)
    required: Sequence[str] = schema.get("required", ())
    for name, found in schema.get("properties", {}).items():
        path = f"{prefix}{name}"
        yield row(path, found, required=name in required)
        inner = found.get("items", found)
        if not name_of(inner) and resolved(inner).get("properties"):
            yield from _rows(inner, f"{path}[]." if "items" in found else f"{path}.")


def row(name: str, schema: Fields, *, required: bool, meaning: str = "", place: str = "") -> str:
    """Return one line of a table: name, type with bounds and default, meaning."""
    facts = resolved(schema)
    need = " <b>required</b>" if required else ""
    default = f"; default <code>{text(_json(facts['default']))}</code>" if "default" in facts else ""
    said = meaning or str(schema.get("description") or facts.get("description") or "")
    where = f" <small>{text(place)}</small>" if place else ""
    return f"<tr><td><code>{text(name)}</code>{where}{need}<td>{kind(schema)}{default}<td>{inline(said)}"


def example(schema: Schema) -> Any:
    """Return an example of a schema: the contract's own, or one made of its fields' examples; None without any."""
    schema = resolved(schema)
    if examples := schema.get("examples"):
        return examples[0]
    for part in (*schema.get("oneOf", ()), *schema.get("allOf", ())):
        if (found := example(part)) is not None:
            return found
    made = {
        name: found
        for name, part in schema.get("properties", {}).items()
        if (found := example(part)) is not None
    }
    return made or None


def pretty(value: Any) -> str:
    """Return a value as it is read: JSON with indents, text as it is."""
    return (
        value
        if isinstance(value, str)
        else msgspec.json.format(msgspec.json.encode(value), indent=2).decode()
    )


def _json(value: Any) -> str:
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()
