"""What the generated pages hold: parameters, commands, settings, the REST API, and documents of other folders."""

from __future__ import annotations

import argparse
import os
import re
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "celantur_site.settings")
# the settings would make a key in the data folder
os.environ.setdefault("ANONYMIZER_SECRET_KEY", "only for the documentation " * 2)

import django  # noqa: E402

django.setup()

from django.core.management import load_command_class  # noqa: E402
from drf_spectacular.generators import SchemaGenerator  # noqa: E402

from anonymizer import cli  # noqa: E402
from anonymizer.management.commands.serve import VARIABLES  # noqa: E402
from anonymizer.pipeline.options.options import parameters  # noqa: E402
from anonymizer.pipeline.options.parameter import Topic  # noqa: E402

__all__ = ["PAGES"]


def cell(text: str) -> str:
    """Text for a cell of a table."""
    return " ".join(text.replace("|", "\\|").replace("<", "&lt;").split())


def table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    """A table in Markdown."""
    lines = [head, ("---",) * len(head), *rows]
    return "\n".join(f"| {' | '.join(row)} |" for row in lines) + "\n"


def parameter_page() -> str:
    """All fields of `Options`, by topic."""
    parts = [
        "# Parameters\n\nThe same parameters work in the query string of `POST /v1/file`, as options of "
        "`anonymizer run` (`--face-threshold 0.3`), and as fields of `Options` in Python (`face_threshold=0.3`). "
        "A name may be written with `-` or `_`. Booleans are `true`, `false`, `1`, `0`, `yes`, `no`, `on` or `off`. "
        "An empty value counts as not given.\n"
    ]
    for topic in Topic:
        rows = [
            (f"`{name}`", f"`{each.default_text}`" if each.default_text else "", cell(each.help))
            for name, each in parameters().items()
            if each.topic is topic
        ]
        parts.append(f"## {str(topic).capitalize()}\n\n" + table(("parameter", "default", "meaning"), rows))
    return "\n".join(parts)


def command_page() -> str:
    """The help of each command."""
    parts = ["# Commands\n\n`anonymizer COMMAND --help` prints the same.\n", f"```text\n{cli._help_text()}\n```\n"]
    for name, entry in cli.COMMANDS.items():
        if not entry.module:
            continue
        # as wide as a page of the documentation
        os.environ["COLUMNS"] = "82"
        parser = load_command_class("anonymizer", entry.module).create_parser("anonymizer", name)
        parts.append(
            f"## anonymizer {name}\n\n{entry.help.capitalize()}.\n\n```text\n{parser.format_help().strip()}\n```\n"
        )
        parts += [
            f"### {sub.prog.removeprefix('anonymizer ')}\n\n```text\n{sub.format_help().strip()}\n```\n"
            for sub in _subcommands(parser)
        ]
    return "\n".join(parts)


def _subcommands(parser: argparse.ArgumentParser) -> list[argparse.ArgumentParser]:
    actions = [each for each in parser._actions if isinstance(each, argparse._SubParsersAction)]
    return [sub for action in actions for sub in action.choices.values()]


def settings_page() -> str:
    """Every environment variable, by group."""
    text = [
        "# Settings\n\nAll settings are environment variables; `NAME_FILE` names a file with the value of `NAME`. "
        "A wrong value stops the start, with the name of the variable. `anonymizer serve` takes some of them as "
        "options too; an option wins over its variable.\n"
    ]
    for group in tomllib.loads((HERE / "settings.toml").read_text())["group"]:
        rows = [
            (
                ", ".join(f"`{name}`" for name in each["names"]) + _options(each["names"]),
                each["default"],
                each["meaning"],
            )
            for each in group["settings"]
        ]
        text.append(f"## {group['name']}\n\n" + table(("variable", "default", "meaning"), rows))
    return "\n".join(text)


def _options(names: list[str]) -> str:
    """The options of `serve` that set the same as these variables."""
    options = [f"`--{option.replace('_', '-')}`" for option, name in VARIABLES.items() if name in names]
    return f" ({', '.join(options)})" if options else ""


def rest_page() -> str:
    """The OpenAPI file as tables."""
    schema = SchemaGenerator().get_schema(public=True)
    parts = [
        "# REST API\n\nA running server has the same as an interactive page at `/docs`, and as an OpenAPI file at "
        "`/v1/openapi.json`. Addresses have no slash at their end. Every error is JSON: "
        '`{"status_code": 400, "error": "…", "code": "invalid_parameter"}`.\n'
    ]
    for path, operations in schema["paths"].items():
        for method, operation in operations.items():
            if not operation.get("deprecated"):
                parts.append(_operation(schema, path, method, operation))
    return "\n".join(parts)


#: of answers that the schema does not describe
_MEANINGS = {
    "200": "It was done, or here is what was asked for.",
    "201": "The file was processed.",
    "202": "The work was accepted, and goes on.",
    "206": "The part that the header Range asks for.",
}


def _operation(schema: dict[str, Any], path: str, method: str, operation: dict[str, Any]) -> str:
    text = f"## {method.upper()} {path}\n\n{operation.get('description', operation.get('summary', ''))}\n"
    own = [_resolved(schema, each) for each in operation.get("parameters", ())]
    if path == "/v1/file":
        text += "\nThe query string takes all [parameters](parameters.md), and these:\n"
        own = [each for each in own if each["name"] not in parameters()]
    rows = [
        (
            f"`{each['name']}`",
            f"{each['in']}, {each.get('schema', {}).get('type', 'text')}",
            cell(each.get("description", "")),
        )
        for each in own
    ]
    if rows:
        text += "\n" + table(("parameter", "where, type", "meaning"), rows)
    answers = [
        (f"`{status}`", cell(_resolved(schema, answer).get("description", "") or _MEANINGS[status]), _media(answer))
        for status, answer in operation["responses"].items()
    ]
    return text + "\n" + table(("answer", "meaning", "content"), answers)


def _resolved(schema: dict[str, Any], value: dict[str, Any]) -> dict[str, Any]:
    found: Any = value
    while "$ref" in found:
        found = schema
        for key in value["$ref"].removeprefix("#/").split("/"):
            found = found[key]
    return dict(found)


def _media(answer: dict[str, Any]) -> str:
    return ", ".join(f"`{each}`" for each in answer.get("content", ()))


def document(path: str, **links: str) -> Callable[[], str]:
    """A document of another folder, with links that lead to pages of the site."""

    def make() -> str:
        text = (ROOT / path).read_text()
        for old, new in links.items():
            text = text.replace(f"({old.replace('__', '.')})", f"({new})")
        return re.sub(r"\]\((?:\.\./)?models/README\.md\)", "](models.md)", text)

    return make


PAGES: dict[str, Callable[[], str]] = {
    "reference/parameters.md": parameter_page,
    "reference/commands.md": command_page,
    "reference/settings.md": settings_page,
    "reference/rest.md": rest_page,
    "models.md": document("models/README.md"),
    "contributing.md": document("CONTRIBUTING.md"),
}
