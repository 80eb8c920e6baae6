"""What an engine's streams say, with events as docker 20.10 and podman 4 write them."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from registry_tool.base.errors import Unreachable
from registry_tool.base.progress import SILENT
from registry_tool.engine.streams import BuildLog, Event, TransferLog, demultiplex, event_error

DIGEST = "sha256:" + "ab" * 32


@dataclass
class RecordingObserver:
    """Records rows and notes."""

    rows: list[tuple[object, ...]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def start(self, key: str, label: str, total: int | None = None) -> None:
        self.rows.append(("start", key, label, total))

    def advance(self, key: str, done: int, total: int | None = None) -> None:
        self.rows.append(("advance", key, done, total))

    def finish(self, key: str, label: str) -> None:
        self.rows.append(("finish", key, label))

    def note(self, text: str) -> None:
        self.notes.append(text)


def transfer(*events: Event, observer: RecordingObserver | None = None) -> TransferLog:
    log = TransferLog(observer or SILENT)
    for event in events:
        log.add(event)
    return log


def progress(key: str, status: str, current: int | None = None, total: int | None = None) -> Event:
    detail = {name: value for name, value in (("current", current), ("total", total)) if value is not None}
    return {"id": key, "status": status, "progressDetail": detail}


@pytest.mark.parametrize(
    ("event", "words"),
    [
        ({"errorDetail": {"message": "no\n space"}, "error": "no\n space"}, "no space"),
        ({"error": "denied"}, "denied"),
        ({"errorDetail": {"code": 1}}, "the engine reported an error without a message"),
        ({"error": ""}, "the engine reported an error without a message"),
        ({"errorDetail": {"code": 1, "message": "returned 1"}}, "returned 1"),
    ],
)
def test_event_error_is_one_line(event: Event, words: str) -> None:
    assert event_error(event) == words
    assert transfer(event).error == words


def test_error_stays_after_later_events() -> None:
    assert transfer({"error": "denied"}, {"status": "Pushed", "id": "a"}, {"aux": {}}).error == "denied"


@pytest.mark.parametrize("digest", ["nonsense", "sha256:short"])
def test_invalid_digest_is_an_error(digest: str) -> None:
    log = transfer({"status": f"Digest: {digest}"})
    assert log.descriptor is None
    assert log.error is not None
    assert digest in log.error


@pytest.mark.parametrize(
    "event",
    [
        {},
        {"status": None},
        {"status": 7, "id": "a"},
        {"aux": None},
        {"aux": []},
        {"aux": {"Digest": 7}},
        {"id": "a"},
        {"status": "Pushing", "id": "a"},
        {"status": "Pushing", "id": "a", "progressDetail": None},
        {"status": "Pushing", "id": "a", "progressDetail": {"current": "x", "total": None}},
        {"status": "Pushing", "id": 7, "progressDetail": {"current": -1}},
    ],
)
def test_unexpected_events_are_ignored(event: Event) -> None:
    assert transfer(event).error is None


def test_push_events() -> None:
    observer = RecordingObserver()
    log = transfer(
        {"status": "The push refers to repository [localhost:5000/a]"},
        progress("new", "Preparing"),
        progress("old", "Preparing"),
        progress("mounted", "Preparing"),
        progress("old", "Layer already exists"),
        progress("mounted", "Mounted from b"),
        progress("new", "Pushing", 512, 1000),
        progress("new", "Pushing", 1536),
        {"status": "Pushed", "id": "new", "progressDetail": {}},
        {"status": f"part2: digest: {DIGEST} size: 741"},
        {"progressDetail": {}, "aux": {"Tag": "part2", "Digest": DIGEST, "Size": 741}},
        observer=observer,
    )
    assert log.error is None
    assert log.descriptor is not None
    assert (str(log.descriptor.digest), log.descriptor.size) == (DIGEST, 741)
    assert log.progress.layers == {"new": "Pushed", "old": "Layer already exists", "mounted": "Mounted from b"}
    assert log.progress.bytes_moved == 1536, "the engine counts past the total it announced"
    assert observer.rows[-4:] == [
        ("start", "new", "Pushing", 1000),
        ("advance", "new", 512, 1000),
        ("advance", "new", 1536, None),
        ("finish", "new", "Pushed"),
    ]


def test_push_events_of_podman() -> None:
    log = transfer({"status": "The push refers to repository [localhost:5000/a:1]"}, {"status": f"1: digest: {DIGEST} size: 429"})
    assert log.descriptor is not None
    assert (str(log.descriptor.digest), log.descriptor.size) == (DIGEST, 429)


def test_pull_events_of_podman() -> None:
    log = transfer(progress("old", "Already exists"), progress("new", "Pulling fs layer"), progress("new", "Download complete"))
    assert (log.error, log.descriptor, log.status) == (None, None, "")
    assert log.progress.layers == {"old": "Already exists", "new": "Download complete"}


def test_present_layer_is_shown_and_counts_no_bytes() -> None:
    observer = RecordingObserver()
    log = transfer(progress("old", "Already exists"), observer=observer)
    assert observer.rows == [("start", "old", "Already exists", None), ("finish", "old", "Already exists")]
    assert log.progress.bytes_moved == 0


def test_pull_events() -> None:
    log = transfer(
        {"status": "Pulling from a/b", "id": "latest"},
        progress("old", "Already exists"),
        progress("new", "Pulling fs layer"),
        progress("new", "Downloading", 100, 400),
        progress("new", "Verifying Checksum"),
        progress("new", "Download complete"),
        progress("new", "Extracting", 400, 400),
        progress("new", "Pull complete"),
        {"status": f"Digest: {DIGEST}"},
        {"status": "Status: Downloaded newer image for localhost:5000/a/b:latest"},
    )
    assert log.descriptor is not None
    assert str(log.descriptor.digest) == DIGEST
    assert log.status == "Downloaded newer image for localhost:5000/a/b:latest"
    assert log.progress.layers == {"old": "Already exists", "new": "Pull complete"}, "the tag is no layer"
    assert log.progress.bytes_moved == 400, "what is extracted is not counted once more"


def test_a_failed_layer_is_not_counted() -> None:
    assert transfer(progress("new", "Downloading", 100, 400), {"error": "gone"}).progress.bytes_moved == 0


def built(*events: Event) -> tuple[BuildLog, RecordingObserver]:
    observer = RecordingObserver()
    log = BuildLog(observer)
    for event in events:
        log.add(event)
    log.close()
    return log, observer


def test_build_output_is_noted_by_line_without_colours() -> None:
    log, observer = built(
        {"stream": "Step 1/2 : FROM a\n"}, {"stream": "one\ntw"}, {"stream": "o\n\x1b[91mred\x1b[0m\r\n\n"}, {"stream": "unended"}
    )
    assert log.lines == observer.notes == ["Step 1/2 : FROM a", "one", "two", "red", "unended"]


@pytest.mark.parametrize(
    ("chunks", "line"),
    [
        (["10%\r50%\r100%\n"], "100%"),
        (["10%\r", "50%\r", "100%", "\r", "\n"], "100%"),
        (["10%\r", "100%"], "100%"),
        (["10%\r\r\n"], "10%"),
        (["one\r\n"], "one"),
    ],
)
def test_progress_that_overwrites_its_line_is_its_last_state(chunks: list[str], line: str) -> None:
    log, _ = built(*({"stream": chunk} for chunk in chunks))
    assert log.lines == [line]


def test_endless_progress_without_a_line_end_is_not_collected() -> None:
    log = BuildLog(RecordingObserver())
    for percent in range(1000):
        log.add({"stream": f"{percent}\r"})
    assert len(log._part) < 10


def test_build_image_is_the_last_reported_id() -> None:
    log, _ = built({"aux": {"ID": "sha256:1"}}, {"aux": {"ID": "sha256:2"}}, {"stream": "Successfully built 0123456789ab\n"})
    assert log.image_id == "sha256:2"


def test_build_image_is_parsed_from_text_of_an_old_engine() -> None:
    log, _ = built({"stream": "Successfully built ffffffffffff\n"}, {"stream": "Successfully built 0123456789ab\n"})
    assert log.image_id == "0123456789ab"


def test_a_build_that_pulls_shows_the_layers() -> None:
    _, observer = built({"status": "Pulling from a", "id": "latest"}, progress("new", "Downloading", 1, 2))
    assert observer.rows == [("start", "new", "Downloading", 2), ("advance", "new", 1, 2)]


FRAMES = b"\x01\0\0\0\0\0\0\x03out" + b"\x02\0\0\0\0\0\0\x03err" + b"\x01\0\0\0\0\0\0\0" + b"\x01\0\0\0\0\0\0\x01!"


@pytest.mark.parametrize("size", [1, 3, 8, 11, 100])
def test_frames_are_split_at_any_chunk_boundaries(size: int) -> None:
    chunks = [FRAMES[at : at + size] for at in range(0, len(FRAMES), size)]
    assert list(demultiplex(chunks)) == [("stdout", b"out"), ("stderr", b"err"), ("stdout", b""), ("stdout", b"!")]


@pytest.mark.parametrize("end", [4, 9])
def test_truncated_frame_is_unreachable(end: int) -> None:
    with pytest.raises(Unreachable, match="stopped answering"):
        list(demultiplex([FRAMES[:end]]))


def test_a_layer_that_was_there_was_not_pulled_although_it_is_complete() -> None:
    """docker 28 with containerd's image store."""
    observer = RecordingObserver()
    log = transfer(progress("a", "Pulling fs layer"), progress("a", "Already exists"), progress("a", "Pull complete"), observer=observer)
    assert log.progress.layers == {"a": "Already exists"}
    assert observer.rows[-1] == ("finish", "a", "Already exists")
