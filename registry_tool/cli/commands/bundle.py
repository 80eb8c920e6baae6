"""``bundle create``, ``bundle verify`` and ``bundle apply``: kits for machines without a network."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING

import click

from registry_tool.base import units
from registry_tool.base.errors import NotFound, RegistryToolError, Unreachable, UsageError
from registry_tool.cli import completions, options
from registry_tool.cli.session import Session

if TYPE_CHECKING:
    from registry_tool.base.progress import Observer
    from registry_tool.bundle.apply import AppliedImage, BundleApplied
    from registry_tool.bundle.contents import WheelSet
    from registry_tool.bundle.create import BundleParts
    from registry_tool.bundle.reader import Bundle
    from registry_tool.content.copy import CopiedImage, CopyListener, PlannedImage
    from registry_tool.content.copy.location import Location
    from registry_tool.oci.descriptor import Platform
    from registry_tool.oci.reference import Reference
    from registry_tool.targets.registry import Registry
    from registry_tool.targets.target import Target

_FILE = click.Path(path_type=Path)


_trusted_key = click.option("--key", metavar="FILE", type=_FILE, help="Require the signature of this public key (PEM or OpenSSH's).")


@click.group("bundle")
def bundle() -> None:
    """Make, verify and apply a kit for machines without a network.

    A bundle has images, the registry's own image, this tool with its dependencies, the sample app and install.sh, in one
    folder or file, each file with its sha256. The same things make the same bytes.

    \b
    Examples:
      regctl bundle create -o kit john/get-started:part2
      regctl bundle verify kit
      regctl bundle apply kit
    """


@bundle.command("create")
@click.argument("names", nargs=-1, metavar="[NAME...]", shell_complete=completions.repositories)
@click.option("-o", "--output", metavar="DIR|FILE.tar", type=_FILE, required=True, help="Folder or file to make.")
@click.option("--compose", metavar="FILE", multiple=True, type=_FILE, help="Take the images of this compose file.")
@click.option("--manifest", metavar="FILE", multiple=True, help="Take every image of these Kubernetes objects; - is standard input.")
@click.option("--list", "lists", metavar="FILE", multiple=True, type=_FILE, help="Take the images that this TOML file lists.")
@click.option("--python", "pythons", metavar="VERSION", multiple=True, help="Python on the other machines: 3.11.  [default: as here]")
@click.option("--python-platform", "machines", metavar="OS/ARCH", multiple=True, help="Their platform.  [default: as here]")
@click.option("--no-tool", is_flag=True, help="Leave out this tool and its dependencies.")
@click.option("--no-registry", is_flag=True, help="Leave out the registry's image and the sample app's base image.")
@click.option("--no-sample", is_flag=True, help="Leave out the sample app and its base image.")
@click.option("--since", metavar="BUNDLE", type=_FILE, help="Leave out what this earlier bundle has.")
@click.option("--volume-size", metavar="SIZE", type=options.volume_size, help="Write volumes of this size: FILE.tar.001, FILE.tar.002.")
@click.option("--parity", is_flag=True, help="Write parity volumes, with which one of ten that is lost is made anew.")
@click.option("--sign", "sign_with", metavar="KEY", type=_FILE, help="Sign with this private key of ed25519 (PEM or OpenSSH's).")
@options.platforms("take")
@options.registry_access
@options.as_json
@click.pass_obj
def create(
    session: Session,
    names: tuple[str, ...],
    output: Path,
    compose: tuple[Path, ...],
    manifest: tuple[str, ...],
    lists: tuple[Path, ...],
    pythons: tuple[str, ...],
    machines: tuple[str, ...],
    no_tool: bool,
    no_registry: bool,
    no_sample: bool,
    since: Path | None,
    volume_size: int | None,
    parity: bool,
    sign_with: Path | None,
    platforms: tuple[Platform, ...],
) -> int:
    """Make a bundle of images, with all that a machine needs to serve and run them.

    NAME is an image in a registry, without a host in the local one; a glob of them (john/*:1.*); or oci:DIR, oci-archive:FILE,
    docker-archive:FILE, engine:NAME. A Helm chart is taken as it is rendered. A run that was interrupted goes on when it is
    run again; nothing is at the output's path before all of it is written.

    \b
    Examples:
      regctl bundle create -o kit 'john/*'
      regctl bundle create -o kit.tar --compose docker-compose.yml --python 3.11 --python 3.13
      helm template chart/ | regctl bundle create -o kit --manifest -
      regctl bundle create -o new.tar --since kit.tar 'john/*'
    """
    from registry_tool.bundle.create import create_bundle
    from registry_tool.bundle.reader import open_bundle
    from registry_tool.cli.views.copy import copy_view
    from registry_tool.content.copy.places import Places

    key = _read(sign_with) if sign_with is not None else None
    locations = _locations(session, names, compose, manifest, lists)
    with ExitStack() as stack:
        before = stack.enter_context(open_bundle(since)) if since is not None else None
        with session.observer() as observer:
            parts = _parts(
                session, locations, observer, pythons, machines, tool=not no_tool, registry=not no_registry, sample=not no_sample
            )
        parts = _limited(parts, platforms)
        places = stack.enter_context(Places(session.open_registry, connect_engine=session.connect_engine))
        unfinished = f"{output} is not finished; run it again to go on with what was read"
        with copy_view(progress=session.progress, quiet=False) as view, _noting_interrupt(session, lambda: unfinished):
            result = create_bundle(
                output, parts, places, since=before, volume_size=volume_size, sign_with=key, parity=parity, listener=view
            )
        notes = places.notes
    out = session.output
    if out.json:
        out.document({"ok": True, "result": result, "notes": notes})
        return 0
    out.lines([f"Took {image.name} ({image.digest})" for image in result.images])
    where = f"{output}" if len(result.files) == 1 else f"{output} in {units.count(len(result.files), 'volume')}"
    out.line(f"Wrote {where} ({units.size(result.size)}, {units.count(len(result.images), 'image')})")
    for note in notes:
        out.note(note)
    return 0


@bundle.command("verify")
@click.argument("path", metavar="DIR|FILE", type=_FILE)
@click.option("--base", metavar="BUNDLE", type=_FILE, help="The bundle that a delta was made since.")
@_trusted_key
@options.as_json
@click.pass_obj
def verify(session: Session, path: Path, base: Path | None, key: Path | None) -> int:
    """Read all of a bundle, and name every file that is damaged, cut, missing or added, with the images that it hits.

    Of volumes name the first one. A delta is complete only with its base.

    \b
    Examples:
      regctl bundle verify kit
      regctl bundle verify new.tar --base kit.tar
    """
    from registry_tool.bundle.reader import open_bundle
    from registry_tool.bundle.verify import hit_images, verify_bundle

    with open_bundle(path, base=base) as opened, session.observer() as observer:
        _check_key(opened, key)
        result = verify_bundle(opened, observer=observer)
    out = session.output
    if out.json:
        out.document(result)
        return 0 if result.ok else 1
    out.lines([str(problem) for problem in result.problems])
    hit = hit_images(result.problems)
    counted = f"{units.count(result.files, 'file')}, {units.size(result.size)}, {units.count(len(result.images), 'image')}"
    if result.ok:
        out.line(f"{path} is whole: {counted}")
    else:
        out.line(f"{path} is not whole: {units.count(len(result.problems), 'problem')} in {counted}; {len(hit)} hit")
    if result.needs is not None:
        out.note(f"It is a delta and needs the bundle before it (bundle.json sha256:{result.needs}): name that with --base.")
    return 0 if result.ok else 1


@bundle.command("repair")
@click.argument("path", metavar="FILE", type=_FILE)
@options.as_json
@click.pass_obj
def repair(session: Session, path: Path) -> int:
    """Make lost or damaged volumes of a bundle anew from the others and their parity: one of each ten.

    FILE is the bundle's name without a number, or its first volume.

    \b
    Examples:
      regctl bundle repair kit.tar
    """
    from registry_tool.bundle.volumes import repair_volumes

    with session.observer() as observer:
        result = repair_volumes(path, observer=observer)
    lines = [f"Made {name} anew" for name in result.repaired] or [f"All {result.volumes} volumes are whole"]
    session.output.result({"ok": True, "repaired": result.repaired, "volumes": result.volumes}, *lines)
    return 0


@bundle.command("apply")
@click.argument("path", metavar="DIR|FILE", type=_FILE)
@click.option("--to", metavar="HOST:PORT", help="Fill this registry, and start none here.")
@click.option("--map", "maps", metavar="OLD=NEW", multiple=True, help="Another prefix for the names: john=class/john.")
@click.option(
    "--on-conflict",
    type=click.Choice(["fail", "skip", "replace"]),
    default="fail",
    show_default=True,
    help="Where a tag stands for something else.",
)
@click.option("--keep-going", is_flag=True, help="Apply what is whole, although something else is not.")
@click.option("--base", metavar="BUNDLE", type=_FILE, help="The bundle that a delta was made since.")
@_trusted_key
@click.option("--name", metavar="NAME", default="default", show_default=True, help="Name of the local registry.")
@click.option("--port", metavar="PORT", type=options.port_number, help="Its port.  [default: its current one, or first free from 5000]")
@click.option("--dry-run", is_flag=True, help="Show what would be applied, with --to; write nothing.")
@options.registry_access
@options.as_json
@click.pass_obj
def apply(
    session: Session,
    path: Path,
    to: str | None,
    maps: tuple[str, ...],
    on_conflict: str,
    keep_going: bool,
    base: Path | None,
    key: Path | None,
    name: str,
    port: int | None,
    dry_run: bool,
) -> int:
    """Load the images of a bundle into a registry: one that is started here, or the one of --to.

    On this machine the engine first gets the registry's own image from the bundle. Everything is verified as it is read;
    where something is damaged or missing no tag is written, unless --keep-going. What the registry has is not sent, so it can
    be run again, after an interruption, too.

    \b
    Examples:
      regctl bundle apply kit
      regctl bundle apply kit.tar.001 --to registry.example.com --map john=class/john
    """
    from registry_tool.bundle.apply import ApplyOptions, apply_bundle, free_space_of, parse_map, prepare_machine
    from registry_tool.bundle.reader import open_bundle
    from registry_tool.cli.views.copy import copy_view

    if dry_run and to is None:
        raise UsageError("--dry-run is for a registry that is there: name it with --to")
    wanted = ApplyOptions(
        maps=dict(map(parse_map, maps)),
        on_conflict="skip" if on_conflict == "skip" else "replace" if on_conflict == "replace" else "fail",
        keep_going=keep_going,
        dry_run=dry_run,
    )
    loaded: tuple[str, ...] = ()
    with ExitStack() as stack:
        opened = stack.enter_context(open_bundle(path, base=base))
        _check_key(opened, key)
        if to is None:
            with session.observer() as observer:
                prepared = prepare_machine(opened, session.engine, session.dirs, name=name, port=port, observer=observer)
            host, loaded = prepared.registry.up.registry.address, prepared.loaded
        else:
            host = to
        registry = stack.enter_context(session.open_registry(host))
        with copy_view(progress=session.progress, quiet=False) as view:
            counter = _ImageCounter(view)
            total = units.count(len(opened.contents.images), "image")
            with _noting_interrupt(session, lambda: f"{counter.applied} of {total} were applied to {host}; run it again to go on"):
                result = apply_bundle(
                    opened,
                    host,
                    _repository(registry),
                    options=wanted,
                    free_space=(lambda: free_space_of(session.engine)) if to is None else lambda: None,
                    listener=counter,
                )
        notes = registry.notes
    out = session.output
    if not out.json:
        _print_applied(session, result, loaded, path)
        for note in notes:
            out.note(note)
        for error in result.failures:
            out.print_error(error)
    members = {"registry": result.registry, "images": result.images, "loaded": loaded, "blobs": result.blobs}
    members |= {"problems": result.problems, "rebuilt": result.rebuilt}
    return out.finish({**members, "seconds": result.seconds, "notes": notes}, _all_failures(result))


# --- inside ---


@contextmanager
def _noting_interrupt(session: Session, text: Callable[[], str]) -> Iterator[None]:
    """Print how far it came where it is interrupted."""
    try:
        yield
    except KeyboardInterrupt:
        session.output.note(text())
        raise


class _ImageCounter:
    """A listener that counts the images that are there, in front of a view."""

    def __init__(self, view: CopyListener) -> None:
        self.applied = 0
        self._lock = Lock()
        self.planned = view.planned
        self.blob_started = view.blob_started
        self.blob_progress = view.blob_progress
        self.blob_finished = view.blob_finished
        self._image_finished = view.image_finished

    def image_finished(self, planned: PlannedImage, image: CopiedImage) -> None:
        with self._lock:
            self.applied += image.error is None
        self._image_finished(planned, image)


def _check_key(opened: Bundle, key: Path | None) -> None:
    """Raise InvalidBundle where it is not signed by the key in this file, UsageError where that is none."""
    if key is None:
        return
    from registry_tool.base.crypto.signatures import InvalidKey, parse_public_key

    try:
        opened.require_signer(parse_public_key(_read(key)))
    except InvalidKey as error:
        raise UsageError(f"{key}: {error}", hint="Make one: openssl pkey -in key.pem -pubout -out key.pub") from None


def _repository(registry: Registry) -> Callable[[Reference], Target]:
    def opened(reference: Reference) -> Target:
        return registry.repository(reference.path)

    return opened


def _all_failures(result: BundleApplied) -> Sequence[RegistryToolError]:
    """Also damage that hits no image."""
    others = [RegistryToolError(str(problem)) for problem in result.problems if not problem.images]
    return [*result.failures, *others]


def _print_applied(session: Session, result: BundleApplied, loaded: Sequence[str], path: Path) -> None:
    from registry_tool.cli.commands.copy import summary

    out = session.output
    out.lines([f"Loaded {name} into the engine" for name in loaded])
    out.lines([_applied_line(image) for image in result.images])
    for problem in result.problems:
        out.note(str(problem))
    for name in result.rebuilt:
        out.note(f"{name} is lost or damaged: made of the others and parity as it was read. Write it anew: regctl bundle repair {path}")
    out.line(summary(result.blobs, result.seconds, dry_run=any(image.status == "planned" for image in result.images)))
    done = sum(image.error is None for image in result.images)
    out.line(f"Applied {done} of {units.count(len(result.images), 'image')} of {path} to {result.registry}")


def _applied_line(image: AppliedImage) -> str:
    words = {
        "copied": "Copied",
        "unchanged": "Unchanged:",
        "replaced": "Replaced",
        "skipped": "Skipped",
        "planned": "Would copy",
        "failed": "Not applied:",
    }
    before = f"; it was {image.before}" if image.before is not None else ""
    return f"{words[image.status]} {image.destination} ({image.digest}){before}"


def _locations(
    session: Session, names: Sequence[str], compose: Sequence[Path], manifests: Sequence[str], lists: Sequence[Path]
) -> list[Location]:
    """All images that are asked for, each once."""
    from registry_tool.bundle import sources
    from registry_tool.cli.commands.copy import parse_locations
    from registry_tool.content.copy.location import Location

    typed = [*names]
    for file in lists:
        typed += sources.listed_images(_read(file), file=str(file))
    plain = [name for name in typed if not sources.is_glob(name)]
    found = [*parse_locations(session, plain)] if plain else []
    for name in typed:
        if sources.is_glob(name):
            host = session.registry_host(name) or ""
            matching = sources.matching_images(
                name, default_host=host or session.required_registry_host(), open_registry=session.open_registry
            )
            found += [Location.parse(each, default_host="localhost") for each in matching]
    others = [name for file in compose for name in sources.compose_images(_read(file), file=str(file), environment=os.environ)]
    for text in manifests:
        content = sys.stdin.buffer.read(sources.MAX_BYTES + 1) if text == "-" else _read(Path(text))
        found_there = sources.manifest_images(content, file="standard input" if text == "-" else text)
        others += found_there.names
        for later in found_there.filled_in_later:
            session.output.note(f"not in the bundle: {later} is known only where it runs; name its images as well")
    found += [_in_engine_or_registry(session, name) for name in others]
    return list({str(location): location for location in found}.values())


def _in_engine_or_registry(session: Session, name: str) -> Location:
    """An image by docker's name: the engine's, where it has it, so that no network is needed; else the registry's."""
    from registry_tool.content.copy.location import Location
    from registry_tool.oci.reference import Reference

    try:
        familiar = Reference.parse(name, default_host="docker.io").familiar
        if session.engine.image(familiar) is not None:
            return Location.parse(f"engine:{familiar}", default_host="localhost")
    except Unreachable:
        pass
    return Location.parse(name, default_host="localhost")


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except FileNotFoundError:
        raise NotFound(f"there is no file {file}") from None
    except OSError as error:
        raise RegistryToolError(f"{file} cannot be read: {error.strerror or error}") from error


def _parts(
    session: Session,
    locations: list[Location],
    observer: Observer,
    pythons: Sequence[str],
    machines: Sequence[str],
    *,
    tool: bool,
    registry: bool,
    sample: bool,
) -> BundleParts:
    from registry_tool.bundle import kit
    from registry_tool.bundle.create import BundleParts
    from registry_tool.bundle.wheels import check_platform, check_python
    from registry_tool.content.copy.location import Location

    if not locations and not registry:
        raise UsageError("a bundle without an image is none", hint="For example: regctl bundle create -o kit john/get-started:part2")
    chosen = [check_python(python) for python in pythons or [f"{sys.version_info.major}.{sys.version_info.minor}"]]
    chosen_machines = [check_platform(machine) for machine in machines or [_this_platform()]]
    documents = kit.documents()
    wheel_sets: tuple[WheelSet, ...] = ()
    names: dict[str, str] = {}
    sample_wheels = ""
    if tool:
        collected, wheel_sets = kit.tool_files(chosen, chosen_machines, session.dirs.cache, observer)
        documents |= collected
    if registry:
        names = kit.base_images(session.engine, session.dirs, sample=sample, observer=observer)
    if sample:
        collected, sample_wheels = kit.sample_app(session.engine if registry else None, names, session.dirs, observer)
        documents |= collected
    return BundleParts(
        images=locations,
        roles={role: Location(kind="engine", name=name) for role, name in names.items()},
        platform=str(session.engine.info.platform) if registry else "",
        files=documents,
        wheels=wheel_sets,
        sample_wheels=sample_wheels,
    )


def _this_platform() -> str:
    import platform

    machine = platform.machine().lower()
    machine = {"x86_64": "amd64", "aarch64": "arm64"}.get(machine, machine)
    return f"{sys.platform}/{machine}"


def _limited(parts: BundleParts, platforms: tuple[Platform, ...]) -> BundleParts:
    from dataclasses import replace

    from registry_tool.content.copy import CopyOptions

    return replace(parts, options=CopyOptions(platforms=platforms))
