"""Every setting, in one typed place: its name, default, meaning, and whether it is secret.

The environment variable of a setting is `ATP_` and its name in capitals; a flag of `atp serve` overrides it.
An unknown ATP_ variable is refused with the nearest name, because a misspelt setting is a setting not made.
This is the only module that reads the environment.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Mapping
from dataclasses import dataclass, fields
from dataclasses import field as _field
from pathlib import Path
from typing import Any, Final, get_type_hints
from urllib.parse import urlsplit, urlunsplit

TEST_PREFIX: Final = "ATP_TEST_"
"""Variables that only the tests read; the program ignores them."""


class SettingError(Exception):
    """A setting is unknown or has a value that cannot be used; the message names it and what is expected."""


def setting(default: Any, text: str, *, secret: bool = False) -> Any:
    """Declare a setting with its default and its one-sentence meaning."""
    return _field(default=default, metadata={"text": text, "secret": secret})


@dataclass(frozen=True, kw_only=True, slots=True)
class Settings:
    """What a server runs with. Instances are immutable; `load` is the usual maker."""

    host: str = setting("127.0.0.1", "Address the HTTP server binds to.")
    port: int = setting(8080, "Port the HTTP server binds to; 0 takes a free one and prints it.")
    data: Path = setting(
        Path("var"), "Directory of the embedded database, keys and other state of this server."
    )
    database: str = setting(
        "",
        "PostgreSQL URL (postgresql://…); empty for the embedded SQLite file in the data directory.",
        secret=True,
    )
    master_key: str = setting(
        "",
        "Master keys, base64url, comma-separated, the current one first; empty to use the key file.",
        secret=True,
    )
    master_key_file: str = setting(
        "",
        "File with the master keys, one a line; empty for `master.key` in the data directory, made if missing.",
    )
    only: str = setting(
        "",
        "Services this process runs, comma-separated (gateway, ingestion, query, projection, integrity); empty: all.",
    )
    log_origin: str = setting(
        "localhost", "Prefix of new logs' origins, a name you own; fixed in a log for ever."
    )
    base_host: str = setting(
        "",
        "Host name under which the first label names the tenant, as in acme.audit.example.com; empty: not used.",
    )
    checkpoint_interval_ms: int = setting(100, "Least milliseconds between two checkpoints of one log.")
    sign_ml_dsa: bool = setting(True, "Whether checkpoints also carry a post-quantum ML-DSA-44 cosignature.")
    pipeline_processes: int = setting(
        -1, "Child processes that prepare large batches; -1: one less than the processors, 0: none."
    )
    self_audit_seconds: int = setting(
        3600, "Seconds between the continuous self-audit's passes over stored bytes; 0 turns it off."
    )
    oidc_issuer: str = setting(
        "", "Issuer of accepted bearer JWTs; its discovery document names the keys; empty: none."
    )
    oidc_audience: str = setting("", "Audience that a bearer JWT must name; required with an issuer.")
    oidc_jwks_url: str = setting("", "Address of the issuer's JWKS, instead of the discovery document's.")
    geo_database: str = setting(
        "", "MaxMind-format (.mmdb) file for the location of context.ip; empty: no enrichment."
    )
    drain_seconds: int = setting(20, "Longest time a stopping server waits for requests in flight.")
    log_level: str = setting("info", "Least severity of log lines: debug, info, warning, error.")
    log_format: str = setting("auto", "Form of log lines: json, console, or auto (console on a terminal).")
    sample: bool = setting(
        True, "Whether the first start of an embedded server makes tenant demo with sample events."
    )

    @property
    def embedded(self) -> bool:
        """Whether the database is the SQLite file."""
        return not self.database

    @property
    def key_file(self) -> Path:
        """Where the master keys are read from when not given directly."""
        return Path(self.master_key_file) if self.master_key_file else self.data / "master.key"


@dataclass(frozen=True, kw_only=True, slots=True)
class ClientSettings:
    """What the commands that talk to a server run with."""

    server: str = setting("", "Address of the server; empty for this machine's host and port settings.")
    api_key: str = setting("", "API key; empty to read `admin.key` in the data directory.", secret=True)
    tenant: str = setting("", "Tenant to act in, where the key may use several.")


SERVICES: Final = ("gateway", "ingestion", "query", "projection", "integrity")


def names() -> list[str]:
    """Return the environment variable of every setting."""
    return [f"ATP_{item.name.upper()}" for kind in (Settings, ClientSettings) for item in fields(kind)]


def load(environment: Mapping[str, str] | None = None, **overrides: Any) -> Settings:
    """Return the settings of this process; raises SettingError, never echoing a secret."""
    found = os.environ if environment is None else environment
    refuse_unknown(found)
    values = _read(Settings, found) | {name: value for name, value in overrides.items() if value is not None}
    settings = Settings(**values)
    _check(settings)
    return settings


def load_client(environment: Mapping[str, str] | None = None, **overrides: Any) -> ClientSettings:
    """Return the settings of a client command, with the server's address and key filled in from their defaults."""
    found = os.environ if environment is None else environment
    values = _read(ClientSettings, found) | {name: value for name, value in overrides.items() if value}
    client = ClientSettings(**values)
    server = Settings(**_read(Settings, found))
    key = client.api_key
    if not key:
        path = server.data / "admin.key"
        key = path.read_text("ascii").strip() if path.is_file() else ""
    address = client.server or f"http://{server.host}:{server.port}"
    return ClientSettings(server=address.rstrip("/"), api_key=key, tenant=client.tenant)


def client_defaults() -> tuple[str, str]:
    """Return (server address, API key) for commands that talk to a server."""
    client = load_client()
    return client.server, client.api_key


def refuse_unknown(environment: Mapping[str, str]) -> None:
    """Raise SettingError for an ATP_ variable that names no setting."""
    known = names()
    for name in sorted(environment):
        if name.startswith("ATP_") and not name.startswith(TEST_PREFIX) and name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"; did you mean {near[0]}?" if near else "; docs/settings.md lists them all."
            raise SettingError(f"{name} is not a setting{hint}")


def _read(kind: type, environment: Mapping[str, str]) -> dict[str, Any]:
    hints = get_type_hints(kind)
    return {
        item.name: _convert(name, hints[item.name], environment[name])
        for item in fields(kind)
        if (name := f"ATP_{item.name.upper()}") in environment
    }


def _convert(name: str, kind: type, text: str) -> Any:
    if kind is bool:
        if text.lower() in ("1", "true", "yes", "on"):
            return True
        if text.lower() in ("0", "false", "no", "off", ""):
            return False
        raise SettingError(f"{name} must be true or false")
    if kind is int:
        if not text.strip().removeprefix("-").isdigit():
            raise SettingError(f"{name} must be a whole number")
        return int(text)
    return kind(text)


def _check(settings: Settings) -> None:
    if not 0 <= settings.port <= 65535:
        raise SettingError("ATP_PORT must be between 0 and 65535")
    if settings.database and not settings.database.startswith(("postgresql://", "postgres://")):
        raise SettingError("ATP_DATABASE must be a postgresql:// URL, or empty for the embedded database")
    for service in filter(None, settings.only.split(",")):
        if service.strip() not in SERVICES:
            near = difflib.get_close_matches(service, SERVICES, n=1)
            raise SettingError(
                f"ATP_ONLY names no service {service!r}; "
                + (f"did you mean {near[0]}?" if near else f"there are {', '.join(SERVICES)}.")
            )
    if settings.oidc_issuer and not settings.oidc_audience:
        raise SettingError("ATP_OIDC_AUDIENCE is required with ATP_OIDC_ISSUER")
    if settings.log_format not in ("auto", "json", "console"):
        raise SettingError("ATP_LOG_FORMAT must be json, console or auto")
    if settings.log_level not in ("debug", "info", "warning", "error"):
        raise SettingError("ATP_LOG_LEVEL must be debug, info, warning or error")


def redacted(settings: Settings) -> dict[str, str]:
    """Return every setting as text fit for a log line: secrets say only whether they are set."""
    shown: dict[str, str] = {}
    for item in fields(settings):
        value = getattr(settings, item.name)
        if item.name == "database" and value:
            parts = urlsplit(value)
            host = parts.hostname or ""
            shown[item.name] = urlunsplit(
                (parts.scheme, f"***@{host}" if parts.username else host, parts.path, "", "")
            )
        elif item.metadata["secret"]:
            shown[item.name] = "(set)" if value else "(not set)"
        else:
            shown[item.name] = str(value)
    return shown


def reference() -> str:
    """Return docs/settings.md: every setting with its variable, default and meaning."""
    lines = ["# Settings", "", "Generated by `atp docs settings`; a test keeps it fresh.", ""]
    for kind, title in ((Settings, "Server"), (ClientSettings, "Commands that talk to a server")):
        lines += [f"## {title}", "", "| Variable | Default | Meaning |", "|---|---|---|"]
        for item in fields(kind):
            default = f"`{item.default}`" if str(item.default) else "(empty)"
            secret = " Secret." if item.metadata["secret"] else ""
            lines.append(f"| `ATP_{item.name.upper()}` | {default} | {item.metadata['text']}{secret} |")
        lines.append("")
    return "\n".join(lines)
