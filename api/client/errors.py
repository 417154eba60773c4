"""What a call raises when the server refuses it, or does not answer."""

import msgspec


class FieldError(msgspec.Struct, frozen=True, kw_only=True):
    """One thing wrong with a request; `pointer` is a JSON pointer into its body."""

    pointer: str = ""
    detail: str = ""


class ApiError(Exception):
    """A problem as the server told it; `status` is 0 when no reply came, `retry_after` is in seconds."""

    def __init__(
        self,
        status: int,
        title: str,
        detail: str = "",
        errors: tuple[FieldError, ...] = (),
        retry_after: float | None = None,
    ) -> None:
        super().__init__(status, title, detail, errors, retry_after)
        self.status = status
        self.title = title
        self.detail = detail
        self.errors = errors
        self.retry_after = retry_after

    def __str__(self) -> str:
        lines = [f"{self.status} {self.title}" if self.status else self.title]
        if self.detail and self.detail != self.title:
            lines[0] += f": {self.detail}"
        lines += [f"{error.pointer or '/'}: {error.detail}" for error in self.errors]
        return "\n".join(lines)


class Invalid(ApiError):
    """The request itself is wrong (400, 413, 415, 422); `errors` names the fields."""


class NotFound(ApiError):
    """There is no such thing (404)."""


class Gone(NotFound):
    """It was deleted (410)."""


class Conflict(ApiError):
    """The state does not allow it (409), or the claim was lost."""


class PreconditionFailed(Conflict):
    """The task is no longer at the revision that `if_match` named (412)."""


class Unavailable(ApiError):
    """The server could not do it now (429, 502, 503, 504), and went on so until the time for the call was up."""


class Unreachable(Unavailable):
    """No reply came, and it is unknown whether the request was carried out; status 0."""


KINDS: dict[int, type[ApiError]] = {
    400: Invalid,
    404: NotFound,
    409: Conflict,
    410: Gone,
    412: PreconditionFailed,
    413: Invalid,
    415: Invalid,
    422: Invalid,
    429: Unavailable,
    502: Unavailable,
    503: Unavailable,
    504: Unavailable,
}


class Problem(msgspec.Struct, frozen=True, kw_only=True):
    """The body of an error reply (RFC 9457)."""

    title: str = ""
    status: int = 0
    detail: str = ""
    errors: tuple[FieldError, ...] = ()


_problem = msgspec.json.Decoder(Problem)


def from_problem(status: int, problem: Problem, retry_after: float | None = None) -> ApiError:
    """Give the exception for a status and a decoded problem."""
    kind = KINDS.get(status, ApiError)
    return kind(status, problem.title or "the server refused", problem.detail, problem.errors, retry_after)


def from_reply(status: int, body: bytes, retry_after: float | None = None) -> ApiError:
    """Give the exception for an error reply; a body that is no problem document is shown as it is."""
    try:
        problem = _problem.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        problem = Problem(detail=body[:500].decode("utf-8", "replace").strip())
    return from_problem(status, problem, retry_after)
