"""What a writer of the load takes for wrong: with a server that is played."""

from __future__ import annotations

import json
import threading
from typing import cast

import pytest

from tests.e2e.kube import Answer, Json, Rest, config_map
from tests.e2e.load import Slot, Writer

PATH = "/maps"


class Played:
    """It answers as it was told, and then ends the writer."""

    def __init__(self, stop: threading.Event, *answers: Answer) -> None:
        self._stop = stop
        self._answers = list(answers)

    def send(self, method: str, path: str, body: Json | None = None) -> Answer:
        answer = self._answers.pop(0)
        if not self._answers:
            self._stop.set()
        return answer


def answered(status: int, data: str = "", version: int = 0) -> Answer:
    body = config_map("a", data)
    body["metadata"]["resourceVersion"] = str(version)
    return Answer(status, json.dumps(body))


def played(slot: Slot, *answers: Answer) -> Writer:
    stop = threading.Event()
    writer = Writer([cast("Rest", Played(stop, *answers))], PATH, [slot])
    writer.run(stop)
    return writer


THERE = answered(200, "old", 7)


def test_deletion_that_was_left_open_and_lands_behind_the_look_is_no_conflict() -> None:
    slot = Slot("a", 3, 7, "old")
    writer = played(slot, answered(500), THERE, answered(404), answered(404))
    assert (writer.wrong, slot.stage, slot.version, slot.open) == ([], 0, 0, ())


def test_update_that_was_left_open_and_lands_behind_the_look_is_no_conflict() -> None:
    slot = Slot("a", 1, 7, "old")
    late = answered(200, "a 1", 8)
    writer = played(slot, answered(500), THERE, answered(409), late)
    assert (writer.wrong, slot.stage, slot.version, slot.data) == ([], 2, 8, "a 1")


@pytest.mark.parametrize(
    "answers",
    [
        [answered(404)],
        [answered(500), THERE, answered(404), THERE],
        [answered(500), THERE, answered(404), answered(200, "of nobody", 9)],
        [answered(500), answered(200, "of nobody", 9)],
    ],
)
def test_conflict_with_nothing_that_was_left_open_is_wrong(answers: list[Answer]) -> None:
    writer = played(Slot("a", 3, 7, "old"), *answers)
    assert writer.wrong
