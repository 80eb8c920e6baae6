"""All failures that a person can meet: message (one line), hint (what to do next), stable ``code``; the class decides the exit code."""

from __future__ import annotations

from typing import ClassVar, NamedTuple

from registry_tool.base import doctor_checks


class ErrorResponse(NamedTuple):
    """Error entry of a registry's response (distribution-spec, "Error codes"); ``code`` and ``message`` are printable, or empty."""

    method: str
    path: str
    status: int
    code: str
    message: str


class RegistryToolError(Exception):
    """A failure: ``message`` (one line), ``hint`` (what to do next), ``excerpt`` (the end of a log, shown below the message)."""

    JSON_MEMBERS: ClassVar = "code message hint=advice excerpt?"
    code: ClassVar[str] = "failed"
    exit_code: ClassVar[int] = 1
    response: ErrorResponse | None = None
    """The registry's error response, where there is one."""

    def __init_subclass__(cls, *, code: str | None = None, exit_code: int | None = None) -> None:
        super().__init_subclass__()
        cls.code = code or cls.code
        cls.exit_code = exit_code or cls.exit_code

    def __init__(self, message: str, *, hint: str | None = None, excerpt: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.excerpt = excerpt

    @property
    def advice(self) -> str | None:
        """``hint``, with the check of ``regctl doctor`` that looks into such failures, if there is one."""
        return doctor_checks.advice(self.code, self.message, self.hint)


class UsageError(RegistryToolError, code="usage", exit_code=2):
    """The command was wrong; nothing was tried."""


class InvalidReference(UsageError, code="invalid-reference"):
    """A name is not a reference (distribution/reference)."""


class ConfirmationRequired(UsageError, code="refused"):
    """A deletion has neither a terminal to ask on nor ``--yes``."""


class Unreachable(RegistryToolError, code="unreachable", exit_code=3):
    """An engine or a registry cannot be reached."""


class EngineNotFound(Unreachable, code="engine-not-found"):
    """No engine answers where docker would look for one."""


class EngineNotPermitted(Unreachable, code="engine-not-permitted"):
    """An engine is there, but this user may not use its socket."""


class EngineTimeout(Unreachable, code="engine-timeout"):
    """An engine did not respond in time."""


class EnvironmentUnavailable(Unreachable, code="no-place"):
    """An engine to verify on is not available; ``excerpt`` is the end of its log, where it has one."""


class RegistryUnreachable(Unreachable, code="registry-unreachable"):
    """Nothing answers at a registry's address."""


class NothingListens(RegistryUnreachable):
    """The connection to a registry's address is refused: it does not run, or is starting again."""


class NotARegistry(RegistryUnreachable, code="not-a-registry"):
    """What answers at the address is no registry."""


class ConnectionLost(RegistryUnreachable):
    """The connection was lost before the response was complete."""


class NotFound(RegistryToolError, code="not-found"):
    """An image, a container, a file, a repository is not there."""


class Conflict(RegistryToolError, code="conflict"):
    """A name belongs to something else, which was not touched."""


class Protected(RegistryToolError, code="protected"):
    """What should be removed is protected, or needed by something that is; nothing was removed."""


class PortTaken(Conflict, code="port-taken"):
    """The requested port is in use by something else, which the message names."""


class EngineError(RegistryToolError, code="engine-error"):
    """The engine answered with an error."""


class CommandNotFound(EngineError, code="command-not-found"):
    """A container's command is not in its image."""


class CommandNotExecutable(EngineError, code="command-not-executable"):
    """A container's command is a folder, or no program."""


class BuildFailed(EngineError, code="build-failed"):
    """A build made no image; ``excerpt`` is the end of its output."""


class PushFailed(EngineError, code="push-failed"):
    """The engine's push stream reported an error."""


class PullFailed(EngineError, code="pull-failed"):
    """The engine's pull stream reported an error."""


class RegistryError(RegistryToolError, code="registry-error"):
    """The registry answered with an error; the message has method, path, status and the registry's own message."""


class AuthenticationFailed(RegistryError, code="authentication-failed"):
    """The registry does not accept the user name or the password, or requires one."""


class TooManyRequests(RegistryError, code="too-many-requests"):
    """The registry's rate limit is exhausted, for longer than a retry waits."""


class CredentialsError(RegistryToolError, code="credentials"):
    """A credential store or helper is missing, hangs, or prints no credential."""


class InvalidManifest(RegistryToolError, code="invalid-manifest"):
    """A manifest or an image config breaks the specification; the message says where."""

    content: bytes | None = None
    """The manifest's bytes, where their digest is right."""

    def __init__(self, message: str, *, hint: str | None = None, excerpt: tuple[str, ...] = ()) -> None:
        default = "It was pushed like this, or is changed in transit: push the image again."
        super().__init__(message, hint=hint or default, excerpt=excerpt)


class UnknownMediaType(InvalidManifest):
    """What a tag stands for is of a type that this program does not read: docker's schema 1, an artifact manifest, anything else."""


class Mismatch(RegistryToolError, code="mismatch"):
    """Content has another digest or size than its descriptor says."""


class InvalidArchive(RegistryToolError, code="invalid-archive"):
    """An archive of images is cut, damaged, or has members that no archive of images has."""


class InvalidBundle(RegistryToolError, code="invalid-bundle"):
    """A bundle is damaged, incomplete, of a newer version, or no bundle at all."""


class ProvisionFailed(RegistryToolError, code="provision-failed"):
    """No source has a base image."""


class VerificationFailed(RegistryToolError, code="proof-failed"):
    """A check of demo or verify failed."""


class InvalidReport(RegistryToolError, code="invalid-certificate"):
    """A file is no verify report, or a damaged one, or one of an unknown version."""
