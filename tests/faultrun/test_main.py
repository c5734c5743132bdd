"""What is asked for and cannot be done is refused before anything starts, and not with the status of a void run."""

from __future__ import annotations

import pytest

from tests.faultrun.__main__ import parse


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("--broker rabbit", "invalid choice: 'rabbit'"),
        ("--seconds abc", "'abc' is no number of seconds"),
        ("--seconds 0", "'0' is no number of seconds"),
        ("--seconds nan", "'nan' is no number of seconds"),
        ("--only thunder", "'thunder' is none of: worker killed, worker frozen, file locked"),
        ("--without luck", "'luck' is none of: "),
    ],
)
def test_what_does_not_exist_is_refused(words: str, told: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as refused:
        parse(words.split())
    assert refused.value.code == 3
    assert told in capsys.readouterr().err


def test_what_exists_is_taken() -> None:
    asked = parse(["--broker", "redis", "--only", "L2 undone", "--without", "an overtaken load may fill"])
    assert (asked.broker, asked.only, asked.without) == ("redis", ["L2 undone"], "an overtaken load may fill")
    assert asked.seconds == 300
