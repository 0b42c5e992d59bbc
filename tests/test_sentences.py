"""Sentences that users read are short: documents, notebooks, help texts, errors and public docstrings."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.sentences import MOST_WORDS, ROOT, files, sentences, too_long, words


def test_sentences_are_told_apart() -> None:
    text = "One. Two `code.x` here! Is it three?\n\n- an item\n| cell | other cell |\n```sh\nnot. this.\n```\n"
    assert list(sentences(text)) == ["One.", "Two `code.x` here!", "Is it three?", "an item", "cell", "other cell"]


def test_code_and_numbers_are_no_words() -> None:
    assert words("Set `ANONYMIZER_MODELS=x` to 5 of the models/registry.toml entries.") == 5


def test_a_long_sentence_is_found(tmp_path: Path) -> None:
    file = tmp_path / "page.md"
    file.write_text("Short. " + "word " * (MOST_WORDS + 1) + "end.")
    assert len(too_long(file)) == 1


@pytest.mark.parametrize("file", [pytest.param(file, id=str(file.relative_to(ROOT))) for file in files()])
def test_no_sentence_is_too_long(file: Path) -> None:
    assert too_long(file) == []
