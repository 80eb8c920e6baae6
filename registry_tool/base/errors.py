"""How anything here fails.

One tree. Every failure that a person can meet is a :class:`RegistryToolError` with three things:
what happened (the message, one line), what to do next (the hint), and a stable ``code`` that scripts
and documentation may name. The class decides the exit code.

::

    RegistryToolError                   1
      UsageError                        2   the command was wrong
        InvalidReference                2
        Refused                         2   a deletion without a terminal and without --yes
      Unreachable                       3   an engine or a registry cannot be reached
        EngineNotFound                  3
        EngineNotPermitted              3
        EngineTimeout                   3
        NoPlace                         3   an engine to prove something on cannot be had
        RegistryUnreachable             3
          NotARegistry                  3
          BrokenOff                     3
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
      CredentialsError                  1   a credential store or helper does not do its part
      ProvisionFailed                   1   a base image cannot be had
      ProofFailed                       1   a demo's step did not prove what it should
      InvalidCertificate                1   a certificate is damaged, of another version, or none
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
    """A failure with a message (one line), a hint (what to do next) and an excerpt of output, where there is one.

    ``excerpt`` is the end of a build's output or a container's log: shown below the message, line by line,
    never part of it.
    """

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

    def as_json(self) -> dict[str, object]:
        """``{"code", "message", "hint"}`` and, where there is one, ``"excerpt"``: the form of ``docs/json.md``."""
        document: dict[str, object] = {"code": self.code, "message": self.message, "hint": self.hint}
        if self.excerpt:
            document["excerpt"] = list(self.excerpt)
        return document


class UsageError(RegistryToolError):
    """The command was wrong; nothing was tried."""

    code = "usage"
    exit_code = 2


class InvalidReference(UsageError):
    """A name is not a reference of the distribution grammar."""

    code = "invalid-reference"


class ConfirmationRequired(UsageError):
    """Something that deletes has neither a terminal to ask on nor ``--yes``."""

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
    """An engine is there, but an answer took longer than it may."""

    code = "engine-timeout"


class EnvironmentUnavailable(Unreachable):
    """An engine that a proof was to be made on cannot be had; ``excerpt`` is the end of its log, where it has one."""

    code = "no-place"


class RegistryUnreachable(Unreachable):
    """Nothing answers at a registry's address."""

    code = "registry-unreachable"


class NotARegistry(RegistryUnreachable):
    """Something answers at the address, but it is no registry."""

    code = "not-a-registry"


class ConnectionLost(RegistryUnreachable):
    """A registry, or what is before it, hung up on us in the middle."""


class NotFound(RegistryToolError):
    """An image, a container, a file, a repository is not there."""

    code = "not-found"


class Conflict(RegistryToolError):
    """A name belongs to somebody else; it was not touched."""

    code = "conflict"


class PortTaken(Conflict):
    """A port that was asked for is held by something else, which the message names."""

    code = "port-taken"


class EngineError(RegistryToolError):
    """The engine answered with an error."""

    code = "engine-error"


class BuildFailed(EngineError):
    """A build did not end with an image; ``excerpt`` is the end of its output."""

    code = "build-failed"


class PushFailed(EngineError):
    """The engine's push stream reported an error."""

    code = "push-failed"


class PullFailed(EngineError):
    """The engine's pull stream reported an error."""

    code = "pull-failed"


class RegistryError(RegistryToolError):
    """The registry answered with an error; the message carries method, path, status and its own words."""

    code = "registry-error"


class AuthenticationFailed(RegistryError):
    """The registry does not accept the user or the password, or wants one."""

    code = "authentication-failed"


class TooManyRequests(RegistryError):
    """The registry wants fewer requests from us, for longer than is waited."""

    code = "too-many-requests"


class CredentialsError(RegistryToolError):
    """A credential store or helper is missing, hangs, or prints what it should not."""

    code = "credentials"


class InvalidManifest(RegistryToolError):
    """A manifest or an image config is not what the specification wants; the message says where."""

    code = "invalid-manifest"

    def __init__(self, message: str, *, hint: str | None = None, excerpt: tuple[str, ...] = ()) -> None:
        usual = "It was pushed so, or something changes it on the way here: push the image again."
        super().__init__(message, hint=hint or usual, excerpt=excerpt)


class Mismatch(RegistryToolError):
    """Content has another digest or size than its descriptor says."""

    code = "mismatch"


class ProvisionFailed(RegistryToolError):
    """A base image cannot be had on any rung of the ladder."""

    code = "provision-failed"


class VerificationFailed(RegistryToolError):
    """A step of the demo did not prove what it should."""

    code = "proof-failed"


class InvalidReport(RegistryToolError):
    """A certificate is damaged, or of a version that is not known, or it is none."""

    code = "invalid-certificate"
