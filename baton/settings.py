"""Settings, declared once: a frozen dataclass per process gives the flags, the environment and the help.

A field made by `setting` becomes `--its-name` (underscores are accepted too) and `BATON_<PROCESS>_<ITS_NAME>`;
a flag wins over the environment, the environment over the default.
"""

import argparse
import dataclasses
import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, dataclass
from pathlib import Path
from types import UnionType
from typing import Any, TypeVar
from urllib.parse import urlsplit

S = TypeVar("S")
T = TypeVar("T")


class SettingsError(Exception):
    """A setting that cannot be honoured. The text names it, the cause and the remedy."""


def setting(
    default: T,
    about: str,
    *,
    choices: Sequence[str] = (),
    env: str = "",
    flags: Sequence[str] = (),
    secret: bool = False,
) -> T:
    """Declare one setting. `env` replaces the variable's usual name; `flags` are further spellings.

    A `secret` has no flag: a command line can be read by every user of the machine.
    """
    metadata: dict[str, object] = {
        "about": about,
        "choices": tuple(choices),
        "env": env,
        "flags": tuple(flags),
        "secret": secret,
    }
    declared: T = dataclasses.field(default=default, metadata=metadata, repr=not secret)
    return declared


@dataclass(frozen=True, kw_only=True)
class ServeSettings:
    """What every process that serves HTTP needs."""

    host: str = setting("127.0.0.1", "address to listen on; 0.0.0.0 for all interfaces (needs a cluster token)")
    port: int = setting(0, "port to listen on; 0 takes a free one")
    ssl: bool = setting(False, "serve HTTPS with SSL_KEYFILE and SSL_CERTFILE from the environment")
    ssl_keyfile: str = setting("", "TLS private key for --ssl", env="SSL_KEYFILE", secret=True)
    ssl_certfile: str = setting("", "TLS certificate chain for --ssl", env="SSL_CERTFILE", secret=True)
    cluster_token: str = setting("", "the secret that Baton's processes share", env="BATON_CLUSTER_TOKEN", secret=True)
    cluster_token_file: str = setting(
        "", "file (mode 0600) that holds the cluster token", env="BATON_CLUSTER_TOKEN_FILE"
    )
    insecure: bool = setting(False, "listen beyond loopback without a cluster token", env="BATON_INSECURE")
    log_level: str = setting("info", "least level that is logged", choices=("debug", "info", "warning", "error"))


@dataclass(frozen=True, slots=True)
class Option:
    """One setting as people meet it: on the command line, in the environment, in the documentation."""

    name: str
    flags: tuple[str, ...]
    env: str
    kind: Callable[[str], Any]
    default: Any
    about: str
    choices: tuple[str, ...]


def options(cls: type[Any], process: str) -> list[Option]:
    """The settings of a dataclass, in the order of their declaration."""
    kinds = typing.get_type_hints(cls)
    return [
        _option(field, kinds[field.name], process) for field in dataclasses.fields(cls) if "about" in field.metadata
    ]


def parse(cls: type[S], process: str, argv: Sequence[str], environ: Mapping[str, str]) -> S:
    """Settings from the command line and the environment. Raises SettingsError; exits on `--help` and unknown flags."""
    parser = argument_parser(cls, process)
    given = vars(parser.parse_args([_dashed(word) for word in argv]))
    values: dict[str, Any] = {}
    for option in options(cls, process):
        if option.name in given:
            values[option.name] = given[option.name]
        elif option.env in environ:
            values[option.name] = _from_environment(option, environ[option.env])
    return cls(**values)


def argument_parser(cls: type[Any], process: str) -> argparse.ArgumentParser:
    """The parser behind `parse`, for its help text."""
    parser = argparse.ArgumentParser(
        prog=f"python -m {process}", description=(cls.__doc__ or "").strip(), argument_default=argparse.SUPPRESS
    )
    for option in options(cls, process):
        if not option.flags:
            continue
        about = f"{option.about} [default: {_shown(option.default)}; environment: {option.env}]".replace("%", "%%")
        if option.kind is _boolean:
            parser.add_argument(*option.flags, dest=option.name, action=argparse.BooleanOptionalAction, help=about)
        else:
            parser.add_argument(
                *option.flags, dest=option.name, type=option.kind, choices=option.choices or None, help=about
            )
    return parser


def check_url(name: str, text: str) -> None:
    """Raises SettingsError where the setting `name` holds no URL of a server."""
    try:
        parts = urlsplit(text)
        usable = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
        (parts.hostname or "").encode("idna")
    except ValueError:  # a port or a name that cannot be
        usable = False
    if not usable:
        raise SettingsError(f"{name} {text!r} is no URL: give http://host:port")


def read_secret_file(path: str) -> str:
    """The one line of a secret's file. Raises SettingsError where others than its owner could read it."""
    file = Path(path)
    try:
        if file.stat().st_mode & 0o077:
            raise SettingsError(f"{path} can be read by other users: run `chmod 600 {path}`")
        return file.read_text().strip()
    except OSError as error:
        raise SettingsError(f"cannot read {path}: {error.strerror}") from error


def _option(field: dataclasses.Field[Any], hint: object, process: str) -> Option:
    flags = (_dashed("--" + field.name), *field.metadata["flags"])
    return Option(
        name=field.name,
        flags=() if field.metadata["secret"] else flags,
        env=field.metadata["env"] or f"BATON_{process.upper().replace(' ', '_')}_{field.name.upper()}",
        kind=_kind(hint),
        default=None if field.default is MISSING else field.default,
        about=field.metadata["about"],
        choices=field.metadata["choices"],
    )


def _dashed(word: str) -> str:
    """A word of the command line; in a flag's name underscores count as dashes, as vLLM and FastChat mix them."""
    flag, equals, value = word.partition("=")
    return flag.replace("_", "-") + equals + value if word.startswith("--") else word


def _kind(hint: object) -> Callable[[str], Any]:
    """The function that reads a value of this type from text."""
    if typing.get_origin(hint) is tuple:
        return _names
    if typing.get_origin(hint) in (UnionType, typing.Union):
        hint = next(part for part in typing.get_args(hint) if part is not type(None))
    kinds: dict[object, Callable[[str], Any]] = {bool: _boolean, int: int, float: float, str: str}
    return kinds[hint]


def _boolean(text: str) -> bool:
    words = {"1": True, "true": True, "yes": True, "on": True, "0": False, "false": False, "no": False, "off": False}
    try:
        return words[text.strip().lower() or "0"]
    except KeyError:
        raise ValueError(f"{text!r} is neither true nor false") from None


def _names(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())


def _from_environment(option: Option, text: str) -> object:
    try:
        value = option.kind(text)
    except ValueError as error:
        raise SettingsError(f"{option.env}={text!r} cannot be read: {error}") from error
    if option.choices and value not in option.choices:
        raise SettingsError(f"{option.env}={text!r} is none of {', '.join(option.choices)}")
    return value


def _shown(default: object) -> str:
    if isinstance(default, tuple):
        return ",".join(map(str, default)) or "none"
    return "none" if default in ("", None) else str(default)
