"""The schemas of ``bundle.json`` and of ``bundle verify --json`` against what is written."""

from __future__ import annotations

import json
from pathlib import Path

from docs.generate_schemas import BUNDLE, VERIFIED, as_text, bundle_schema, verified_schema
from tests.support.cli_runner import Typed
from tests.support.content import layer, make_image
from tests.support.recording_server import RecordingServer
from tests.support.schema import faults


def test_documents_fit_their_schemas_which_are_of_the_types(typed: Typed, watching: RecordingServer, tmp_path: Path) -> None:
    assert BUNDLE.read_text(encoding="utf-8") == as_text(bundle_schema()), "make reference"
    assert VERIFIED.read_text(encoding="utf-8") == as_text(verified_schema()), "make reference"
    make_image(watching.port, "a", "1", layer(b"a"))
    plain = ("--no-tool", "--no-registry", "--no-sample")
    whole, delta = tmp_path / "whole", tmp_path / "delta"
    assert typed("bundle", "create", "-o", str(whole), *plain, "a:1").code == 0
    make_image(watching.port, "a", "2", layer(b"a"), layer(b"b"))
    assert typed("bundle", "create", "-o", str(delta), *plain, "a:2", "--since", str(whole)).code == 0
    schema, verified = bundle_schema(), verified_schema()
    for kit in (whole, delta):
        assert list(faults(json.loads((kit / "bundle.json").read_bytes()), schema, schema)) == []
        assert list(faults(typed("bundle", "verify", str(kit), "--json").json, verified, verified)) == []
    (whole / "install.sh").unlink()
    assert list(faults(typed("bundle", "verify", str(whole), "--json").json, verified, verified)) == []
