"""The kinds of setting values: how a text is parsed, which values are allowed, and the words that describe them."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from urllib.parse import urlsplit

import attrs
from typed_settings.types import Secret

from oms.domain.errors import InvalidValue
from oms.domain.money import Currency

MIN_SECRET_LENGTH = 16
_SHOWN_LENGTH = 60
MASK = "***"
_QUERY_NAME = (
    r"[a-z0-9_.-]*(?:password|passwd|pwd|passphrase|secret|token|credential|api[_-]?key|access[_-]?key|signature)"
)
IN_QUERY = re.compile(rf"(?i)([?&;]{_QUERY_NAME}=)[^&;#\s]+")
_BEFORE_AT = re.compile(r"(://)\S*@")
_PATH = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*")


@attrs.frozen
class Kind:
    """One kind of value: `allowed` finishes the sentence "... is not"; `parse` raises ValueError for other text."""

    allowed: str
    parse: Callable[[str], object]
    allows: Callable[[object], bool]
    secret: bool = False

    def shown(self, value: object) -> str:
        """Return a value for an error message: on one line, cut short, and without secrets."""
        if self.secret:
            return "the value given"
        text = repr(masked_address(value) if isinstance(value, str) else value)
        return text if len(text) <= _SHOWN_LENGTH else text[:_SHOWN_LENGTH] + "..."


def masked_address(text: str) -> str:
    """Return a text in which passwords and tokens of addresses are `***`: before an `@`, and in the query by name."""
    return IN_QUERY.sub(rf"\1{MASK}", _BEFORE_AT.sub(rf"\1{MASK}@", text))


def whole(low: int, high: int) -> Kind:
    """Return the kind of whole numbers from `low` to `high`."""
    return Kind(
        f"a whole number from {low} to {high}", _whole, lambda value: type(value) is int and low <= value <= high
    )


def _whole(text: str) -> int:
    if not re.fullmatch(r"-?[0-9]{1,20}", text.strip()):  # int() would take 1_000 and other scripts' digits
        raise ValueError(text)
    return int(text)


def number(low: float, high: float) -> Kind:
    """Return the kind of numbers from `low` to `high`, both included; infinity and NaN aren't allowed."""
    return Kind(
        f"a number from {low} to {high}",
        _number,
        lambda value: isinstance(value, int | float) and not isinstance(value, bool) and low <= value <= high,
    )


def _number(text: str) -> float:
    if not re.fullmatch(r"-?[0-9]{1,20}(\.[0-9]{1,20})?", text.strip()):
        raise ValueError(text)
    return float(text)


def choice(*words: str) -> Kind:
    """Return the kind of values that are one of `words`; error messages show the empty word as `empty`."""
    return Kind(" or ".join(word or "empty" for word in words), str, lambda value: value in words)


def extension_path(*names: str) -> Kind:
    """Return the kind of values that are one of the built-in names, or an import path."""
    return Kind(
        f"{', '.join(names)} or {IMPORT_PATH.allowed}",
        str,
        lambda value: value in names or IMPORT_PATH.allows(value),
    )


def optional(kind: Kind) -> Kind:
    """Return a kind that also allows None, written as an empty text."""
    return Kind(
        f"{kind.allowed}, or empty",
        lambda text: kind.parse(text) if text else None,
        lambda value: value is None or kind.allows(value),
        kind.secret,
    )


def _is_word(value: object) -> bool:
    return isinstance(value, str) and value.isprintable() and bool(re.fullmatch(r"\S+", value))


def _is_import_path(value: object) -> bool:
    return isinstance(value, str) and bool(_PATH.fullmatch(value))


def _is_host_name(value: object) -> bool:
    return isinstance(value, str) and bool(re.fullmatch(r"\*|\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+", value))


def _is_currency(value: object) -> bool:
    try:
        return isinstance(value, str) and bool(Currency.of(value))
    except InvalidValue:
        return False


def _is_server(schemes: tuple[str, ...], *, secrets_allowed: bool = False) -> Callable[[object], bool]:
    # Credentials in an address would end in logs and in `ps`: they have settings of their own.
    def is_server(value: object) -> bool:
        if not isinstance(value, str) or not value.isascii() or not value.isprintable() or " " in value:
            return False
        try:
            parts = urlsplit(value)
            _ = parts.port
        except ValueError:
            return False
        secret = "@" in parts.netloc or (not secrets_allowed and masked_address(value) != value)
        return parts.scheme in schemes and bool(parts.hostname) and not secret

    return is_server


def _are_postgres_servers(value: object) -> bool:
    """Whether a value is an address of one PostgreSQL server, or of several, which libpq tries one after the other."""
    if not isinstance(value, str):
        return False
    scheme, mark, rest = value.partition("://")
    hosts, slash, database = rest.partition("/")
    is_server = _is_server(("postgresql",))
    return all(is_server(f"{scheme}{mark}{host}{slash}{database}") for host in hosts.split(","))


def _are_brokers(value: object) -> bool:
    return isinstance(value, str) and all(
        re.fullmatch(r"(\[[0-9a-fA-F:]+\]|[A-Za-z0-9._-]+):[0-9]{1,5}", one) for one in value.split(",")
    )


def _are_kafka_keys(value: object) -> bool:
    return isinstance(value, Mapping) and all(
        isinstance(name, str) and isinstance(text, str) for name, text in value.items()
    )


def _is_long_secret(value: object) -> bool:
    return isinstance(value, Secret) and len(value.get_secret_value()) >= MIN_SECRET_LENGTH


def _path(text: str) -> Path:
    """Return a path. Refuse an empty text: it would mean the current directory, and is more likely a mistake."""
    if not text.strip():
        raise ValueError(text)
    return Path(text)


def _kafka_keys(text: str) -> Mapping[str, str]:
    """Read lines of `key=value`; ignore empty lines and lines that begin with `#`."""
    found: dict[str, str] = {}
    for line in map(str.strip, text.splitlines()):
        key, equals, value = map(str.strip, line.partition("="))
        if line and not line.startswith("#"):
            if not (key and equals) or key in found:
                raise ValueError(text)
            found[key] = value
    return found


def _comma_separated(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())


IMPORT_PATH = Kind("an import path such as shop.extensions:Name", str, _is_import_path)
IMPORT_PATHS = Kind(
    "import paths such as shop.steps:subscribe, separated by commas",
    _comma_separated,
    lambda value: isinstance(value, tuple) and all(map(_is_import_path, value)),
)
HOST = Kind("a host name or address", str, _is_word)
USER = Kind("a name without blanks", str, _is_word)
HOST_NAMES = Kind(
    "host names or addresses without ports, such as localhost,[::1], separated by commas",
    _comma_separated,
    lambda value: isinstance(value, tuple) and all(map(_is_host_name, value)),
)
CURRENCY = Kind("a three-letter currency code", str, _is_currency)
DIRECTORY = Kind("the path of a directory", _path, lambda value: isinstance(value, Path) and "\0" not in str(value))
OPTIONAL_FILE = Kind(
    "a path, or empty",
    lambda text: Path(text) if text else None,
    lambda value: value is None or (isinstance(value, Path) and "\0" not in str(value)),
)
KAFKA_ADDRESSES = Kind("a list such as broker-1:9092,broker-2:9092", str, _are_brokers)
KAFKA_KEYS = Kind("lines of key=value, each key once, such as linger.ms=5", _kafka_keys, _are_kafka_keys, secret=True)
POSTGRES_ADDRESS = Kind(
    "an address such as postgresql://host:5432/database, without credentials", str, _are_postgres_servers
)
REDIS_ADDRESS = Kind(
    "an address such as redis://host:6379/0, without credentials", str, _is_server(("redis", "rediss"))
)
PASSWORD = Kind(
    "a password", Secret, lambda value: isinstance(value, Secret) and bool(value.get_secret_value()), secret=True
)
WEB_ADDRESS = Kind(
    "an http or https address without credentials", str, _is_server(("http", "https"), secrets_allowed=True)
)
SHARED_SECRET = Kind(f"a secret of at least {MIN_SECRET_LENGTH} characters", Secret, _is_long_secret, secret=True)
