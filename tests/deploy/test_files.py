"""Dockerfile, compose.yaml and deploy/kubernetes: schemas, and that they name what the service has."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import compose_spec
import kubernetes_validate
import pytest
import yaml

from anonymizer.management import worker_health
from anonymizer.service.monitoring.exposition import exposition
from celantur_site import env
from tests.conftest import ROOT
from tests.deploy import containers
from tests.test_repository import tracked_files

SECRETS = {
    "POSTGRES_PASSWORD": "pw", "S3_ACCESS_KEY": "key", "S3_SECRET_KEY": "secret", "ANONYMIZER_SECRET_KEY": "signs",
}  # fmt: skip
#: variables of other programs
OF_OTHERS = re.compile(r"AWS_|NVIDIA_|PATH$|HOME$")


def known_settings() -> set[str]:
    groups = tomllib.loads((ROOT / "docs" / "_generate" / "settings.toml").read_text())["group"]
    return {name for group in groups for each in group["settings"] for name in each["names"]}


def all_containers() -> list[containers.Container]:
    secret = dict.fromkeys(("DATABASE_URL", "BROKER_URL", "STORAGE_URL", "ANONYMIZER_SECRET_KEY"), "x")
    of_image = containers.Container("image", containers.image().arguments, containers.image().environment)
    return [of_image, *containers.of_compose(SECRETS), *containers.of_kubernetes(secret)]


def deployments() -> list[dict[str, Any]]:
    return [each for each in containers.kubernetes() if each["kind"] == "Deployment"]


def test_hadolint_finds_nothing() -> None:
    linter = shutil.which("hadolint", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    assert linter, "requirements-dev.txt has it"
    done = subprocess.run([linter, ROOT / "Dockerfile"], capture_output=True, text=True)
    assert done.stdout + done.stderr == ""


def test_all_variables_are_settings() -> None:
    for container in all_containers():
        unknown = {name for name in container.environment if not OF_OTHERS.match(name)} - known_settings()
        assert unknown == set(), container.name


def test_the_image_runs_as_nobody_and_listens_where_others_reach_it() -> None:
    image = containers.image()
    assert image.user == "10001:10001"
    assert image.entry == ["tini", "--", "anonymizer"]
    for container in all_containers():
        is_worker_of_compose = container.arguments[-1] == "--no-migrate" and "--host" not in container.arguments
        assert "0.0.0.0" in container.arguments or container.name == "migrate" or is_worker_of_compose


def test_the_build_gets_what_it_copies_and_nothing_else() -> None:
    copied = [
        source
        for stage in containers.dockerfile()
        for each in stage
        if each.word == "COPY" and "--from" not in each.text
        for source in each.words[:-1]
    ]
    kept = {file for file in tracked_files() if not containers.ignored(file)}
    assert {file for file in kept if not any(Path(file).is_relative_to(source) for source in copied)} == set()
    for source in copied:
        assert any(Path(file).is_relative_to(source) for file in kept), source
    # what the wheel is made of, whole
    for file in tracked_files():
        if file.startswith(("anonymizer/", "celantur_site/")):
            assert file in kept
    for file in ("media/db.sqlite3", ".git/config", "models/yours.safetensors", "anonymizer/__pycache__/a.pyc"):
        assert containers.ignored(file)
    assert "models/own-3.safetensors" in kept


@pytest.mark.slow
def test_the_service_needs_none_of_the_packages_that_stay_out() -> None:
    script = next(each.text for stage in containers.dockerfile() for each in stage if "service.txt" in each.text)
    left_out = re.search(r"\^\(([a-z|]+)\)>", script)
    assert left_out
    lines = (ROOT / "requirements.txt").read_text().splitlines()
    for name in left_out[1].split("|"):
        assert any(line.startswith(f"{name}>") for line in lines)
    blocked = [*left_out[1].split("|"), "IPython", "jupyter_core"]
    code = (
        f"import sys\nsys.modules.update(dict.fromkeys({blocked}))\n"
        "from anonymizer.cli import main\nassert main(['serve', '--help']) == 0\n"
        "import celantur_site.urls, anonymizer.service.work, anonymizer.pipeline.tracking.tracker\n"
        "from anonymizer import Anonymizer\n"
    )
    environment = os.environ | {"ANONYMIZER_SECRET_KEY": "x"}
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_compose_is_valid_and_says_which_secret_is_missing() -> None:
    found = containers.compose(SECRETS)
    compose_spec.PyCompose.from_yaml(yaml.safe_dump(found)).validate()
    text = (ROOT / "compose.yaml").read_text()
    for name in SECRETS:
        with pytest.raises(KeyError, match=f"{name}: set "):
            containers.composed(text, {each: value for each, value in SECRETS.items() if each != name})
    named = {volume.partition(":")[0] for each in found["services"].values() for volume in each.get("volumes", [])}
    assert {name for name in named if not name.startswith("/")} == found["volumes"].keys()
    for service in found["services"].values():
        assert "healthcheck" in service or service["image"] == "anonymizer"
        for other, how in service.get("depends_on", {}).items():
            assert other in found["services"]
            assert how == {"condition": "service_healthy"}


def test_the_override_of_the_documentation_gives_workers_a_gpu() -> None:
    page = (ROOT / "docs" / "more-machines.md").read_text()
    override = yaml.safe_load(re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)[0])
    whole = containers.compose(SECRETS)
    for name, service in override["services"].items():
        whole["services"][name] |= service
    compose_spec.PyCompose.from_yaml(yaml.safe_dump(whole)).validate()


def test_kubernetes_objects_are_valid() -> None:
    for each in containers.kubernetes():
        if each["apiVersion"] != "keda.sh/v1alpha1":
            kubernetes_validate.validate(each, "1.32", strict=True)
    broken = deployments()[0]
    broken["spec"]["template"]["spec"]["containers"][0]["imagee"] = "x"
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(broken, "1.32", strict=True)


def test_pods_ask_what_is_answered_and_have_time_to_stop() -> None:
    answered = {f"/{each.pattern}" for each in worker_health.urlpatterns}
    for deployment in deployments():
        pod = deployment["spec"]["template"]
        assert pod["metadata"]["labels"].items() >= deployment["spec"]["selector"]["matchLabels"].items()
        (container,) = pod["spec"]["containers"]
        assert container["args"][:3] == ["serve", "--only", container["name"]]
        for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
            assert container[probe]["httpGet"]["path"] in answered
        own = {each["name"]: each.get("value") for each in container.get("env", [])}
        stop_s = env.parse_duration(own.get("ANONYMIZER_STOP_TIMEOUT") or "60s").total_seconds()
        assert pod["spec"]["terminationGracePeriodSeconds"] > stop_s
        mounted = {each["name"] for each in container["volumeMounts"]}
        assert mounted == {each["name"] for each in pod["spec"]["volumes"]}
    (service,) = [each for each in containers.kubernetes() if each["kind"] == "Service"]
    assert deployments()[0]["spec"]["template"]["metadata"]["labels"] == service["spec"]["selector"]


@pytest.mark.django_db(transaction=True)
def test_the_scaling_names_deployments_and_metrics_that_exist() -> None:
    exposed = set(re.findall(r"^(anonymizer_\w+\{kind=\"\w+\"\})", exposition().decode(), re.MULTILINE))
    scaled = [each["spec"] for each in containers.kubernetes() if each["kind"] == "ScaledObject"]
    names = {each["metadata"]["name"] for each in deployments()}
    assert {each["scaleTargetRef"]["name"] for each in scaled} == {name for name in names if name != "anonymizer-web"}
    for each in scaled:
        assert 1 <= each["minReplicaCount"] < each["maxReplicaCount"]
        (trigger,) = each["triggers"]
        assert trigger["type"] == "prometheus"
        assert {"serverAddress", "query", "threshold"} <= trigger["metadata"].keys()
        assert all(isinstance(value, str) for value in trigger["metadata"].values())
        asked = set(re.findall(r"anonymizer_\w+\{[^}]*\}", trigger["metadata"]["query"]))
        assert len(asked) == 2
        assert asked <= exposed
