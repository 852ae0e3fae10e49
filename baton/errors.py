"""Every error that a client of Baton can see: OpenAI's type, a string code and the HTTP status, in one tree.

The body is OpenAI's: `{"error": {"message", "type", "param", "code"}}`.
"""

from typing import ClassVar

import msgspec


class ErrorDetail(msgspec.Struct, frozen=True):
    message: str
    type: str
    param: str | None
    code: str | None


class ErrorBody(msgspec.Struct, frozen=True):
    error: ErrorDetail


class BatonError(Exception):
    """A failure with an answer for the client. `retry_after` is in seconds."""

    status: ClassVar[int] = 500
    type: ClassVar[str] = "server_error"
    code: ClassVar[str] = "internal_error"

    def __init__(self, message: str, *, param: str | None = None, retry_after: int | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.param = param
        self.retry_after = retry_after

    def body(self) -> bytes:
        """The JSON of OpenAI's error object."""
        return msgspec.json.encode(ErrorBody(ErrorDetail(self.message, self.type, self.param, self.code)))

    def headers(self) -> dict[str, str]:
        """What goes with the body, besides its length."""
        headers = {"content-type": "application/json"}
        if self.retry_after is not None:
            headers["retry-after"] = str(self.retry_after)
        return headers


class InvalidRequestError(BatonError):
    """A field's value is wrong; `param` names it."""

    status = 400
    type = "invalid_request_error"
    code = "invalid_value"


class InvalidJsonError(InvalidRequestError):
    code = "invalid_json"


class UnsupportedParameterError(InvalidRequestError):
    """A field that OpenAI knows and this server does not honour: refused, never dropped in silence."""

    code = "unsupported_parameter"


class ContextLengthError(InvalidRequestError):
    """Clients match on the words "maximum context length is"."""

    code = "context_length_exceeded"


class InvalidApiKeyError(BatonError):
    status = 401
    type = "authentication_error"
    code = "invalid_api_key"

    def headers(self) -> dict[str, str]:
        return {**super().headers(), "www-authenticate": "Bearer"}


class ModelNotFoundError(InvalidRequestError):
    status = 404
    code = "model_not_found"


class RouteNotFoundError(InvalidRequestError):
    status = 404
    code = "route_not_found"


class MethodNotAllowedError(InvalidRequestError):
    status = 405
    code = "method_not_allowed"


class BodyTooLargeError(InvalidRequestError):
    status = 413
    code = "body_too_large"


class UnsupportedMediaTypeError(InvalidRequestError):
    status = 415
    code = "unsupported_media_type"


class InternalError(BatonError):
    """A fault of ours. The message never holds paths, addresses or stack traces."""


class WorkerFailedError(BatonError):
    """The worker died, or answered with something that is not HTTP."""

    status = 502
    code = "worker_failed"


class NoWorkerError(BatonError):
    """The model is known, and no worker can take the request now."""

    status = 503
    code = "no_worker_available"


class OverloadedError(BatonError):
    """The worker's queue is full."""

    status = 503
    code = "overloaded"


class WorkerTimeoutError(BatonError):
    status = 504
    code = "worker_timeout"
