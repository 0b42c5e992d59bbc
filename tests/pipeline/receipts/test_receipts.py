"""Receipts: canonical, signed, checked, and without names."""

from __future__ import annotations

import copy
import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from anonymizer import Anonymizer, Options
from anonymizer.management.commands import receipt_key, verify_receipt
from anonymizer.pipeline.errors import InvalidParameter
from anonymizer.pipeline.files.sums import FileSum
from anonymizer.pipeline.receipts.canonical import canonical_json, plain
from anonymizer.pipeline.receipts.receipt import Receipt
from anonymizer.pipeline.receipts.signing import SigningKey, load_public_key, make_key
from tests.conftest import ROOT
from tests.fakes import FakeDetector, FakeStore
from tests.pictures import drawn, encoded


@pytest.fixture(scope="module")
def anonymizer() -> Anonymizer:
    return Anonymizer(store=FakeStore(FakeDetector()), noise_key=b"key")


@pytest.fixture
def key(tmp_path: Path) -> SigningKey:
    return make_key(tmp_path / "keys" / "receipt.pem")


@pytest.fixture
def made(anonymizer: Anonymizer, key: SigningKey, tmp_path: Path) -> Path:
    """A folder with an original, its result, its masks and metadata, and its signed receipt."""
    (tmp_path / "secret-name.jpg").write_bytes(encoded())
    options = Options(verify=True, face_threshold=0.00001, mask_scale=50, save_mask="binary")
    result = anonymizer.image(tmp_path / "secret-name.jpg", options)
    result.save(tmp_path / "out" / "secret-name.jpg")
    result.save_extras(tmp_path / "out", "secret-name.jpg")
    result.receipt(key).save(tmp_path / "receipt.json")
    return tmp_path


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ({"b": [1.0, True, None], "a": "ä\n"}, '{"a":"ä\\n","b":[1,true,null]}'),
        ({"x": {"b": 0.25, "a": -0.0}}, '{"x":{"a":0,"b":0.25}}'),
        ([10, 9, "€", "\u2028"], '[10,9,"€","\u2028"]'),
    ],
)
def test_canonical_json_has_one_form(value: object, text: str) -> None:
    assert canonical_json(value).decode() == text


@pytest.mark.parametrize("value", [1e-7, 1e21, float("nan"), float("inf"), 2**60, {"ä": 1}, b"x", {1: 2}])
def test_what_has_several_forms_is_refused(value: object) -> None:
    with pytest.raises(ValueError, match=r"JSON|ASCII|finite"):
        canonical_json({"value": value})


def test_unusual_numbers_become_texts() -> None:
    assert plain({"a": 1e-5, "b": 2**60, "c": (1.5, 2.0)}) == {"a": "1e-05", "b": str(2**60), "c": [1.5, 2]}


def test_a_receipt_tells_what_was_made_of_which_file_and_no_name(made: Path) -> None:
    receipt = Receipt.load((made / "receipt.json").read_bytes())
    content = receipt.content
    assert content["input"] == FileSum.of_file(made / "secret-name.jpg").as_json()
    roles = {path.name: receipt.role_of(FileSum.of_file(path)) for path in (made / "out").iterdir()}
    assert roles == {
        "secret-name.jpg": "anonymised",
        "secret-name.jpg.binary-mask.png": "binary-mask",
        "secret-name.jpg.json": "metadata",
    }
    assert content["models"] == [{"id": "fake", "sha256": None}]
    assert content["options"] == {
        "face-threshold": "1e-05", "mask-scale": 50, "save-mask": "binary", "verify": "true",
    }  # fmt: skip
    assert content["thresholds"]["vehicle"] == 0.4
    assert content["counts"] == {"face": 2, "license-plate": 1, "person": 0, "vehicle": 0}
    assert content["analysed"] == {
        "size": [240, 320], "frames": 1, "views": {"fake": 1}, "format": "auto",
        "all_pixels": True, "much_smaller": False,
    }  # fmt: skip
    assert content["verification"]["looks"] == 1
    assert content["software"]["name"] == "anonymizer"
    assert b"secret" not in receipt.data
    assert receipt.data == (made / "receipt.json").read_bytes()


def test_models_of_the_registry_have_their_checksums() -> None:
    result = Anonymizer(device="cpu").image(np.asarray(drawn()), Options(face=True))
    content = result.receipt(format="png").content
    assert content["input"] is None
    sums = {model["id"]: model["sha256"] for model in content["models"]}
    assert sums
    assert all(len(value) == 64 for value in sums.values())


def test_any_change_breaks_the_signature(made: Path, tmp_path: Path) -> None:
    public = load_public_key(made / "keys" / "receipt.pem.pub")
    envelope = json.loads((made / "receipt.json").read_bytes())
    receipt = Receipt.load(json.dumps(envelope, indent=2).encode())
    # spaces and the order of keys do not matter
    assert receipt.problem(public) is None
    for change in (
        lambda content: content["counts"].update(face=3),
        lambda content: content["outputs"].pop("metadata"),
        lambda content: content.update(signed=False),
        lambda content: content.update(more=1),
    ):
        changed = copy.deepcopy(envelope)
        change(changed["receipt"])
        assert "does not fit" in str(Receipt.load(json.dumps(changed).encode()).problem(public))
    other = load_public_key(_other_key(tmp_path))
    assert "another key signed it" in str(receipt.problem(other))
    stripped = Receipt.load(json.dumps(envelope | {"signature": None}).encode())
    assert "was taken away" in str(stripped.problem(public))
    forged = copy.deepcopy(envelope)
    forged["signature"]["value"] = "no base64"
    assert "does not fit" in str(Receipt.load(json.dumps(forged).encode()).problem(public))


def _other_key(folder: Path) -> Path:
    make_key(folder / "other.pem")
    return folder / "other.pem.pub"


@pytest.mark.parametrize(
    "data",
    [b"", b"[]", b'{"receipt":{}}', b'{"receipt":1,"signature":null}', b'{"receipt":{},"signature":"x"}',
     b'{"receipt":{"a":1,"a":2},"signature":null}', b'{"receipt":{"a":1e999},"signature":null}', b"\xff"],
)  # fmt: skip
def test_what_is_no_receipt_is_refused(data: bytes) -> None:
    with pytest.raises(InvalidParameter, match="must be a receipt of the anonymizer"):
        Receipt.load(data, name="file.json")


def test_a_key_is_private_new_and_of_the_right_kind(tmp_path: Path, key: SigningKey) -> None:
    file = tmp_path / "keys" / "receipt.pem"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert "PRIVATE" not in (tmp_path / "keys" / "receipt.pem.pub").read_text()
    assert len(repr(key)) < 40
    with pytest.raises(InvalidParameter, match="an old key is never replaced"):
        make_key(file)
    assert SigningKey.load(file).sign(b"x") == key.sign(b"x")
    file.chmod(0o640)
    with pytest.raises(InvalidParameter, match="only its owner"):
        SigningKey.load(file)
    file.chmod(0o600)
    file.write_text("no key")
    for path in (file, tmp_path / "none.pem"):
        with pytest.raises(InvalidParameter):
            SigningKey.load(path)
        with pytest.raises(InvalidParameter):
            load_public_key(path)


def check(*words: object) -> int:
    try:
        verify_receipt.Command().run_from_argv(["anonymizer", "verify-receipt", *map(str, words)])
    except SystemExit as end:
        return int(end.code or 0)
    return 0


def test_the_command_checks_signature_and_files(
    made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], anonymizer: Anonymizer
) -> None:
    receipt, public = made / "receipt.json", made / "keys" / "receipt.pem.pub"
    files = (made / "secret-name.jpg", made / "out" / "secret-name.jpg")
    assert check(receipt, *files, "--key", public) == 0
    shown = capsys.readouterr().out
    assert "signature: holds" in shown
    assert "secret-name.jpg: input" in shown
    assert "secret-name.jpg: anonymised" in shown
    other = tmp_path / "other.txt"
    other.write_text("another file")
    assert check(receipt, other, "--key", public) == 1
    assert "none of the files" in capsys.readouterr().err
    assert check(receipt, "--key", _other_key(tmp_path)) == 1
    anonymizer.image(encoded()).receipt().save(tmp_path / "unsigned.json")
    assert check(tmp_path / "unsigned.json", "--key", public) == 1
    assert "It is not signed" in capsys.readouterr().err
    assert check(tmp_path / "unsigned.json", "--unsigned") == 0
    for wrong in ([receipt], [other, "--key", public], [receipt, "--key", other], [tmp_path / "none", "--unsigned"]):
        assert check(*wrong) == 2


def test_the_command_makes_a_key(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    receipt_key.Command().run_from_argv(["anonymizer", "receipt-key", str(tmp_path / "new.pem")])
    assert "ANONYMIZER_RECEIPT_KEY" in capsys.readouterr().out
    assert SigningKey.load(tmp_path / "new.pem")
    with pytest.raises(SystemExit) as end:
        receipt_key.Command().run_from_argv(["anonymizer", "receipt-key", str(tmp_path / "new.pem")])
    assert end.value.code == 2


def test_ten_lines_of_the_readme_verify_a_receipt_with_nothing_of_ours(made: Path) -> None:
    readme = (ROOT / "docs" / "how-to" / "audit.md").read_text()
    script = readme.partition("# verify_receipt.py\n")[2].partition("```")[0]
    lines = [line for line in script.splitlines() if line.strip()]
    assert 5 <= len(lines) <= 10
    assert "anonymizer" not in script
    env = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}

    def run(receipt: Path, file: Path) -> subprocess.CompletedProcess[str]:
        words = [sys.executable, "-I", "-c", script, receipt, file, made / "keys" / "receipt.pem.pub"]
        return subprocess.run([*map(str, words)], capture_output=True, text=True, env=env, cwd=made, timeout=60)

    right = run(made / "receipt.json", made / "out" / "secret-name.jpg")
    assert (right.returncode, right.stderr) == (0, "")
    assert "anonymised" in right.stdout
    assert run(made / "receipt.json", made / "keys" / "receipt.pem.pub").returncode != 0
    changed = (made / "receipt.json").read_text().replace('"kind":"image"', '"kind":"video"')
    (made / "changed.json").write_text(changed)
    assert run(made / "changed.json", made / "out" / "secret-name.jpg").returncode != 0
