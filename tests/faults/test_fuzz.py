"""A few dozen mutated files and query strings; `python -m tests.faults.fuzz` sends thousands."""

from __future__ import annotations

import random

import pytest

from tests.conftest import Server
from tests.faults.fuzz import ALLOWED_5XX, Outcome, fuzz_files, fuzz_queries, mutated, seeds, wait_for_end


@pytest.fixture(scope="module", autouse=True)
def _worker_is_the_same(server: Server) -> object:
    before = server.workers(), server.workers("videos")
    yield
    assert (server.workers(), server.workers("videos")) == before


def test_mutated_files_end_as_done_or_failed_and_harm_nothing(server: Server) -> None:
    outcome = Outcome()
    fuzz_files(server.url, 42, 3, outcome)
    wait_for_end(server.url, outcome, 60)
    assert outcome.faults == []
    assert sum(outcome.statuses.values()) == 42
    # some mutations harm nothing, most are found out
    assert any(end == "done" for end in outcome.ends)
    assert outcome.statuses[422] + outcome.statuses[415] + sum(outcome.ends.values()) >= 30


def test_mutated_query_strings_are_answered_with_reasons(server: Server) -> None:
    outcome = Outcome()
    fuzz_queries(server.url, 60, 3, outcome)
    wait_for_end(server.url, outcome, 60)
    assert outcome.faults == []
    assert outcome.statuses[400] > 20


def test_every_seed_is_a_valid_file_and_mutations_change_it(server: Server) -> None:
    chance = random.Random(0)
    for name, content in seeds().items():
        answer = server.upload(content, "face=1", name=name)
        assert answer.status_code == 201, (name, answer.text)
        assert any(mutated(content, chance) != content for _ in range(3)), name


def test_a_server_error_is_a_fault() -> None:
    class Answer:
        text = "<html>"

        def __init__(self, status_code: int) -> None:
            self.status_code = status_code

        def json(self) -> object:
            raise ValueError

    outcome = Outcome()
    for status in (200, *ALLOWED_5XX, 500):
        outcome.note(Answer(status), "a file")  # type: ignore[arg-type]
    # two for 500, and one each for the others that are no JSON
    assert len(outcome.faults) == 4


def test_a_matroska_header_that_is_longer_than_any_file_is_a_broken_file(server: Server) -> None:
    """Found by file 432 of seed 14: the server tried to read at a position that does not exist."""
    content = seeds()["mkv"]
    broken = content[:4] + b"\x01\xfe\xff\xff\xff\xff\xff\xff" + content[5:]
    answer = server.upload(broken, "face=1", name="a.mkv")
    assert (answer.status_code, answer.json()["code"]) == (422, "broken_media"), answer.text
