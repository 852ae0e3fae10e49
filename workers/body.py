"""Reads the body of a request: JSON only, and no more of it than allowed."""

from starlette.requests import Request

from baton.errors import BodyTooLargeError, UnsupportedMediaTypeError


async def read_body(request: Request, limit: int) -> bytes:
    """The body. Raises UnsupportedMediaTypeError, BodyTooLargeError, or ClientDisconnect."""
    _check_media_type(request.headers.get("content-type", ""))
    announced = request.headers.get("content-length", "")
    if announced.isascii() and announced.isdigit() and int(announced[:20]) > limit:
        raise _too_large(limit)
    parts: list[bytes] = []
    size = 0
    async for part in request.stream():
        size += len(part)
        if size > limit:
            raise _too_large(limit)
        parts.append(part)
    return b"".join(parts)


def _check_media_type(header: str) -> None:
    """Only JSON, named as such: what a web page can send without asking first is never JSON."""
    essence = header.partition(";")[0].strip().lower()
    if essence != "application/json":
        raise UnsupportedMediaTypeError("Send JSON, with the header `Content-Type: application/json`.")


def _too_large(limit: int) -> BodyTooLargeError:
    return BodyTooLargeError(f"The request body is larger than {limit} bytes.")
