"""``user`` and the options of ``up`` for TLS, as they are typed wrongly; what they do is seen on a real engine."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.cli_runner import Typed


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("user", "Missing argument"),
        ("user drop mary", "'drop' is not one of 'add', 'remove', 'list'"),
        ("user list mary", "list takes no user"),
        ("user add", "add needs a user"),
        ("user remove", "remove needs a user"),
        ("user add a:b --password-stdin", "invalid user name 'a:b'"),
        ("user add <token> --password-stdin", "is a token"),
        ("user add mary", "there is no terminal to ask for the password on"),
        ("user add mary --password-stdin --password-file FILE", "exclude each other"),
        ("up --cert FILE", "--cert and --key need each other"),
        ("up --key FILE", "--cert and --key need each other"),
        ("up --cert FILE --key FILE --no-tls", "exclude each other"),
        ("up --cert FILE --key FILE", "not a certificate in PEM"),
        ("up --cert FILE --key /nowhere", "cannot be read: No such file"),
    ],
)
def test_wrong_words_are_exit_2_before_an_engine_is_asked(typed: Typed, tmp_path: Path, words: str, message: str) -> None:
    file = tmp_path / "file"
    file.write_text("no certificate")
    answer = typed(*(str(file) if word == "FILE" else word for word in words.split()))
    assert (answer.code, message in answer.err) == (2, True), answer.err
