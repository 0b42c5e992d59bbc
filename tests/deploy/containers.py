"""What Dockerfile, compose.yaml and deploy/kubernetes say, as a container engine would read it."""

from __future__ import annotations

import fnmatch
import json
import re
import shlex
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from tests.conftest import ROOT

__all__ = [
    "Container",
    "Instruction",
    "compose",
    "composed",
    "dockerfile",
    "image",
    "kubernetes",
    "of_compose",
    "of_kubernetes",
]

KUBERNETES = ROOT / "deploy" / "kubernetes"
_VARIABLE = re.compile(r"\$\{(?P<name>\w+)(?::(?P<kind>[?-])(?P<text>[^}]*))?\}")


@dataclass(frozen=True)
class Instruction:
    """A line of the Dockerfile: its word, and what follows."""

    word: str
    text: str

    @property
    def words(self) -> list[str]:
        """The text as a list, whether it is written as JSON or as a line of a shell."""
        return list(json.loads(self.text)) if self.text.startswith("[") else shlex.split(self.text)


@dataclass
class Container:
    """A process that an engine starts.

    Attributes:
        name: of the service.
        arguments: what follows the entry point of the image.
        environment: besides that of the image.
    """

    name: str
    arguments: list[str]
    environment: dict[str, str] = field(default_factory=dict)


def dockerfile() -> list[list[Instruction]]:
    """The stages of the Dockerfile, each with its instructions."""
    lines = [line for line in (ROOT / "Dockerfile").read_text().splitlines() if not line.lstrip().startswith("#")]
    stages: list[list[Instruction]] = []
    for line in re.sub(r"\\\n\s*", " ", "\n".join(lines)).splitlines():
        if line.strip():
            word, _, text = line.strip().partition(" ")
            if word == "FROM":
                stages.append([])
            stages[-1].append(Instruction(word, text.strip()))
    return stages


@dataclass(frozen=True)
class _Image:
    entry: list[str]
    arguments: list[str]
    health: list[str]
    environment: dict[str, str]
    user: str


def image() -> _Image:
    """What the image runs."""
    last = {each.word: each for each in dockerfile()[-1]}
    health = last["HEALTHCHECK"].text.partition("CMD ")[2]
    environment = dict(word.split("=", 1) for word in last["ENV"].words)
    return _Image(
        last["ENTRYPOINT"].words, last["CMD"].words, list(json.loads(health)), environment, last["USER"].text
    )  # fmt: skip


def ignored(path: str) -> bool:
    """Whether `.dockerignore` keeps a file out of the build: the last line that fits decides, as the engine has it."""
    out = False
    for line in (ROOT / ".dockerignore").read_text().splitlines():
        pattern = line.strip()
        if not pattern or pattern.startswith("#"):
            continue
        keeps, pattern = pattern.startswith("!"), pattern.lstrip("!")
        names = [str(each) for each in (Path(path), *Path(path).parents)]
        fits = any(
            fnmatch.fnmatch(name, pattern)
            or (pattern.startswith("**/") and fnmatch.fnmatch(Path(name).name, pattern[3:]))
            for name in names
        )
        out = (not keeps) if fits else out
    return out


def composed(text: str, environment: dict[str, str]) -> str:
    """Put variables into a file of compose.

    Raises:
        KeyError: a variable that must be set is not. The text is what compose shows.
    """

    def value(match: re.Match[str]) -> str:
        given = environment.get(match["name"], "")
        if not given and match["kind"] == "?":
            raise KeyError(f"{match['name']}: {match['text']}")
        return given or (match["text"] if match["kind"] == "-" else "")

    return _VARIABLE.sub(value, text)


def compose(environment: dict[str, str]) -> dict[str, Any]:
    """The content of compose.yaml with the values of variables."""
    return dict(yaml.safe_load(composed((ROOT / "compose.yaml").read_text(), environment)))


def of_compose(environment: dict[str, str]) -> list[Container]:
    """The containers of compose.yaml that run this project's image, in the order of their start."""
    services = compose(environment)["services"]
    own = {name: each for name, each in services.items() if each["image"] == "anonymizer"}
    return [Container(name, each["command"], each["environment"]) for name, each in own.items()]


def kubernetes() -> list[dict[str, Any]]:
    """All objects of the kustomization."""
    listed = yaml.safe_load((KUBERNETES / "kustomization.yaml").read_text())["resources"]
    return [each for name in listed for each in yaml.safe_load_all((KUBERNETES / name).read_text())]


def of_kubernetes(secret: dict[str, str]) -> list[Container]:
    """The containers of the Deployments, those that prepare the pods first.

    Args:
        secret: the content of the Secret `anonymizer`.
    """
    literals = yaml.safe_load((KUBERNETES / "kustomization.yaml").read_text())["configMapGenerator"][0]["literals"]
    common = dict(each.split("=", 1) for each in literals) | secret
    found: list[Container] = []
    for deployment in (each for each in kubernetes() if each["kind"] == "Deployment"):
        pod = deployment["spec"]["template"]["spec"]
        for container in [*pod["initContainers"], *pod["containers"]]:
            assert container["envFrom"] == [
                {"configMapRef": {"name": "anonymizer"}},
                {"secretRef": {"name": "anonymizer"}},
            ]
            own = {each["name"]: str(each.get("value", "2")) for each in container.get("env", [])}
            found.append(Container(container["name"], container["args"], common | own))
    return sorted(found, key=lambda each: each.name != "migrate")
