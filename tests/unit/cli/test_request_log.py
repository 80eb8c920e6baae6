from __future__ import annotations

import logging

import pytest

from registry_tool.auth import credentials
from registry_tool.auth.credentials import Credential
from registry_tool.cli.app import main
from tests.support import canary
from tests.support.fake_server import ReceivedRequest, Reply, fake_server, reply

SECRET = canary.password()


def guarded(received: ReceivedRequest) -> Reply:
    return reply({"tags": ["v1"]}) if "authorization" in received.headers else reply({}, 401, www_authenticate='Basic realm="x"')


def test_debug_logs_every_request_without_secrets(capsys: pytest.CaptureFixture[str]) -> None:
    with fake_server(guarded) as server:
        credentials.store(server.host, Credential("mary", SECRET))
        assert main(["--debug", "--registry", server.host, "list-tags", "-q", "--no-details", "john/get-started"]) == 0
        received = len(server.requests)
    output, errors = capsys.readouterr()
    assert output == "v1\n"
    lines = [line for line in errors.splitlines() if line[:2] in ("> ", "< ")]
    assert len(lines) == 2 * received
    assert f"> GET http://{server.host}/v2/john/get-started/tags/list" in lines[0]
    assert "Authorization='Basic ***'" in errors
    assert SECRET not in errors
    assert "bWFyeT" not in errors  # of mary: in base 64


def test_no_request_is_logged_without_debug(capsys: pytest.CaptureFixture[str]) -> None:
    logger = logging.getLogger("registry_tool.transport")
    with fake_server(lambda received: reply({"tags": ["v1"]})) as server:
        for debug in (["--debug"], []):
            main([*debug, "--registry", server.host, "list-tags", "-q", "--no-details", "a"])
    assert logger.handlers == []
    assert logger.level == logging.NOTSET
    assert capsys.readouterr().err.count("> GET") == 1
