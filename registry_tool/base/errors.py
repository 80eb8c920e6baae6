"""All failures that a person can meet: :class:`RegistryToolError` and its subclasses.

Each has a message (what happened, one line), a hint (what to do next) and a stable ``code`` for scripts and
documentation; the class decides the exit code.

::

    RegistryToolError                   1
      UsageError                        2   the command was wrong
        InvalidReference                2
        ConfirmationRequired            2   a deletion without a terminal and without --yes
      Unreachable                       3   an engine or a registry cannot be reached
        EngineNotFound                  3
        EngineNotPermitted              3
        EngineTimeout                   3
        EnvironmentUnavailable          3   an engine to verify on cannot be had
        RegistryUnreachable             3
          NotARegistry                  3
          ConnectionLost                3
      NotFound                          1   an image, a container, a file, a repository is not there
      Conflict                          1   a name or port belongs to somebody else
        PortTaken                       1
      EngineError                       1   the engine answered with an error
        BuildFailed                     1
        PushFailed                      1
        PullFailed                      1
      RegistryError                     1   the registry answered with an error
        AuthenticationFailed            1
        TooManyRequests                 1
      CredentialsError                  1   a credential store or helper fails
      InvalidManifest                   1   a manifest or config breaks the specification
      Mismatch                          1   content has another digest or size than its descriptor
      ProvisionFailed                   1   a base image cannot be had
      VerificationFailed                1   a check of demo or verify failed
      InvalidReport                     1   a verify report is damaged, of another version, or none
"""

from __future__ import annotations

from typing import ClassVar, NamedTuple


class ErrorResponse(NamedTuple):
    """Error entry of a registry's response (distribution-spec, "Error codes"); ``code`` and ``message`` are printable, or empty."""

    method: str
    path: str
    status: int
    code: str
    message: str


class RegistryToolError(Exception):
    """A failure: ``message`` (one line), ``hint`` (what to do next), ``excerpt`` (the end of a log, shown below the message)."""

    JSON_MEMBERS: ClassVar = "code message hint excerpt?"
    code: ClassVar[str] = "failed"
    exit_code: ClassVar[int] = 1
    response: ErrorResponse | None = None
    """The registry's error response, where there is one."""

    def __init__(self, message: str, *, hint: str | None = None, excerpt: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.excerpt = excerpt


class UsageError(RegistryToolError):
    """The command was wrong; nothing was tried."""

    code = "usage"
    exit_code = 2


class InvalidReference(UsageError):
    """A name is not a reference (distribution/reference)."""

    code = "invalid-reference"


class ConfirmationRequired(UsageError):
    """A deletion has neither a terminal to ask on nor ``--yes``."""

    code = "refused"


class Unreachable(RegistryToolError):
    """An engine or a registry cannot be reached."""

    code = "unreachable"
    exit_code = 3


class EngineNotFound(Unreachable):
    """No engine answers where docker would look for one."""

    code = "engine-not-found"


class EngineNotPermitted(Unreachable):
    """An engine is there, but this user may not use its socket."""

    code = "engine-not-permitted"


class EngineTimeout(Unreachable):
    """An engine did not answer in time."""

    code = "engine-timeout"


class EnvironmentUnavailable(Unreachable):
    """An engine to verify on cannot be had; ``excerpt`` is the end of its log, where it has one."""

    code = "no-place"


class RegistryUnreachable(Unreachable):
    """Nothing answers at a registry's address."""

    code = "registry-unreachable"


class NotARegistry(RegistryUnreachable):
    """What answers at the address is no registry."""

    code = "not-a-registry"


class ConnectionLost(RegistryUnreachable):
    """The connection was lost before the response was complete."""


class NotFound(RegistryToolError):
    """An image, a container, a file, a repository is not there."""

    code = "not-found"


class Conflict(RegistryToolError):
    """A name belongs to something else, which was not touched."""

    code = "conflict"


class PortTaken(Conflict):
    """The requested port is held by something else, which the message names."""

    code = "port-taken"


class EngineError(RegistryToolError):
    """The engine answered with an error."""

    code = "engine-error"


class BuildFailed(EngineError):
    """A build made no image; ``excerpt`` is the end of its output."""

    code = "build-failed"


class PushFailed(EngineError):
    """The engine's push stream reported an error."""

    code = "push-failed"


class PullFailed(EngineError):
    """The engine's pull stream reported an error."""

    code = "pull-failed"


class RegistryError(RegistryToolError):
    """The registry answered with an error; the message has method, path, status and the registry's own message."""

    code = "registry-error"


class AuthenticationFailed(RegistryError):
    """The registry does not accept the user name or the password, or requires one."""

    code = "authentication-failed"


class TooManyRequests(RegistryError):
    """The registry's rate limit is exhausted, for longer than a retry waits."""

    code = "too-many-requests"


class CredentialsError(RegistryToolError):
    """A credential store or helper is missing, hangs, or prints no credential."""

    code = "credentials"


class InvalidManifest(RegistryToolError):
    """A manifest or an image config breaks the specification; the message says where."""

    code = "invalid-manifest"

    def __init__(self, message: str, *, hint: str | None = None, excerpt: tuple[str, ...] = ()) -> None:
        default = "It was pushed so, or something changes it on the way here: push the image again."
        super().__init__(message, hint=hint or default, excerpt=excerpt)


class Mismatch(RegistryToolError):
    """Content has another digest or size than its descriptor says."""

    code = "mismatch"


class ProvisionFailed(RegistryToolError):
    """No source has a base image."""

    code = "provision-failed"


class VerificationFailed(RegistryToolError):
    """A check of demo or verify failed."""

    code = "proof-failed"


class InvalidReport(RegistryToolError):
    """A file is no verify report, or a damaged one, or one of an unknown version."""

    code = "invalid-certificate"
