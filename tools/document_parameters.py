"""Write what is said of parameters from the model that checks them: the table in docs/parameters.md, and the JSON
Schema that editors check a parameters file by.

    python tools/document_parameters.py           write it
    python tools/document_parameters.py --check   exit 1 where it is out of step

The rest of that document is left as it is.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))  # the checkout it lies in, installed or not

from runbook_lib.parameters import Parameters

ROOT = Path(__file__).resolve().parents[1]
DOCUMENT = ROOT / "docs" / "parameters.md"
SCHEMA = ROOT / "parameters" / "schema.json"
BEGIN, END = "<!-- parameters:begin -->", "<!-- parameters:end -->"
Schema = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Row:
    """One parameter: its place in the file, what it takes, its default, what it means."""

    name: str
    takes: str
    default: str
    meaning: str

    def __str__(self) -> str:
        return f"| `{self.name}` | {self.takes} | {self.default} | {self.meaning} |"


def rows() -> list[Row]:
    """Return every parameter the model knows, in its order; NAME stands for a name of your own."""
    schema = Parameters.model_json_schema()
    return list(_rows(schema, schema["$defs"], ""))


def schema() -> str:
    """Return the JSON Schema of a parameters file, as the model has it."""
    said = {"$schema": "https://json-schema.org/draft/2020-12/schema", **Parameters.model_json_schema()}
    return json.dumps(said, indent=1, ensure_ascii=False) + "\n"


def table() -> str:
    """Return the table in Markdown."""
    head = ["| name | takes | default | meaning |", "|---|---|---|---|"]
    return "\n".join([*head, *map(str, rows())])


def in_step(text: str) -> str:
    """Return a document with the table between its two marks made again."""
    before, rest = text.split(BEGIN)
    after = rest.split(END)[1]
    return f"{before}{BEGIN}\n{table()}\n{END}{after}"


def _rows(model: Schema, models: Schema, place: str) -> Iterator[Row]:
    for name, field in model["properties"].items():
        at = f"{place}{name}"
        yield Row(at, _takes(field, models), _default(name, model, field), field.get("description", ""))
        for inner, below in _models(field, models):
            yield from _rows(inner, models, f"{at}{below}.")


def _models(field: Schema, models: Schema) -> Iterator[tuple[Schema, str]]:
    """Yield the models within a field, each with what stands between its name and theirs."""
    for form in _forms(field, models):
        if "properties" in form:
            yield form, ""
        elif named := _named(form):
            yield from ((inner, f".NAME{below}") for inner, below in _models(named, models))
        elif form.get("type") == "array":
            yield from ((inner, f"[]{below}") for inner, below in _models(form["items"], models))


def _forms(field: Schema, models: Schema) -> list[Schema]:
    """Return the ways a field may be written, references resolved."""
    if "$ref" in field:
        return [models[field["$ref"].rsplit("/", 1)[1]]]
    return [form for way in field["anyOf"] for form in _forms(way, models)] if "anyOf" in field else [field]


def _named(form: Schema) -> Schema | None:
    """Return what stands under each name of a mapping, None for anything else."""
    found = next(iter(form.get("patternProperties", {}).values()), form.get("additionalProperties"))
    return found if isinstance(found, Mapping) else None


def _takes(field: Schema, models: Schema) -> str:
    return " or ".join(_form(form, models) for form in _forms(field, models))


def _form(form: Schema, models: Schema) -> str:
    if "enum" in form or "const" in form:
        return " \\| ".join(f"`{value}`" for value in form.get("enum", [form.get("const")]))
    kind = form["type"]
    if kind == "array":
        most = f", at most {form['maxItems']}" if "maxItems" in form else ""
        return f"list of {_takes(form['items'], models)}{most}"
    if kind == "object":
        named = _named(form)
        return f"{_takes(named, models)}, by name" if named else "the keys below"
    return {"string": "text", "boolean": "true \\| false", "null": "null"}.get(kind) or f"{kind}{_range(form)}"


def _range(form: Schema) -> str:
    words = {
        "minimum": "at least",
        "maximum": "at most",
        "exclusiveMinimum": "above",
        "exclusiveMaximum": "below",
    }
    if {"minimum", "maximum"} <= set(form):
        return f" {form['minimum']}-{form['maximum']}"
    return "".join(f" {word} {form[key]:g}" for key, word in words.items() if key in form)


def _default(name: str, model: Schema, field: Schema) -> str:
    if name in model.get("required", ()):
        return "**required**"
    default = field.get("default")
    return "as below" if isinstance(default, Mapping) and default else f"`{json.dumps(default)}`"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 where something is out of step")
    check = parser.parse_args().check
    wanted = {DOCUMENT: in_step(DOCUMENT.read_text()), SCHEMA: schema()}
    late = {file: text for file, text in wanted.items() if not file.is_file() or file.read_text() != text}
    if not check:
        for file, text in late.items():
            file.write_text(text)
    print("in step" if not late else "out of step" if check else "written")
    return int(check and bool(late))


if __name__ == "__main__":
    raise SystemExit(main())
