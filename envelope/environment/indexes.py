"""Where packages come from on this node: pip's own settings, handed on to uv.

Nothing here is ever stored: index addresses and their credentials belong to the node.
"""

from __future__ import annotations

import configparser
import os
import re
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

# pip's option -> uv's variable, and how a list of values is joined there.
_VARIABLES = {
    "index-url": ("UV_DEFAULT_INDEX", " "),
    "extra-index-url": ("UV_INDEX", " "),
    "find-links": ("UV_FIND_LINKS", ","),
    "trusted-host": ("UV_INSECURE_HOST", " "),
    "cert": ("SSL_CERT_FILE", " "),
    "client-cert": ("SSL_CLIENT_CERT", " "),
    "proxy": ("ALL_PROXY", " "),
    "timeout": ("UV_HTTP_TIMEOUT", " "),
}
_CREDENTIALS = re.compile(r"(?<=://)[^/@\s]+(?=@)")


def index_variables(environ: Mapping[str, str], options: Mapping[str, str]) -> dict[str, str]:
    """Turn pip's options into uv's variables. What is set for uv itself wins.

    options: from pip_options. pip asks every index and takes the best version, uv by default only
    the first that knows the name: with extra indexes uv is told to do as pip did, or a version
    that was installed from the second index would not be found.
    """
    found: dict[str, str] = {}
    for option, (variable, separator) in _VARIABLES.items():
        values = options.get(option, "").split()
        if option == "find-links":
            values = [value for value in values if "://" in value or Path(value).exists()]
        if values:
            found[variable] = separator.join(values)
    if "UV_INDEX" in found:
        found["UV_INDEX_STRATEGY"] = "unsafe-best-match"
    if _is_true(options.get("no-index")):
        found["UV_NO_INDEX"] = "1"
    if ":all:" in options.get("only-binary", ""):
        found["UV_NO_BUILD"] = "1"
    if options.get("keyring-provider") == "subprocess":
        found["UV_KEYRING_PROVIDER"] = "subprocess"
    return {name: value for name, value in found.items() if not environ.get(name)}


def pip_options(environ: Mapping[str, str], files: Iterable[str]) -> dict[str, str]:
    """Merge pip's options: of its configuration files (weakest first), then of PIP_* variables.

    files: the texts of the files. A later file wins, `[install]` wins over `[global]`.
    """
    sections: dict[str, dict[str, str]] = {"global": {}, "install": {}}
    for text in files:
        parser = configparser.RawConfigParser()
        try:
            parser.read_string(text)
        except configparser.Error:  # pip would stop at it; the node's administrator will know
            continue
        for name, options in sections.items():
            if parser.has_section(name):
                options.update({_option(key): value for key, value in parser.items(name)})
    variables = {
        _option(name.removeprefix("PIP_")): value
        for name, value in environ.items()
        if name.startswith("PIP_") and value
    }
    return {**sections["global"], **sections["install"], **variables}


def read_pip_files(environ: Mapping[str, str]) -> list[str]:
    """Read pip's configuration files, in the order in which pip does."""
    if environ.get("PIP_CONFIG_FILE") == os.devnull:  # pip's way of saying: none
        return []
    texts = []
    for path in _pip_files(environ):
        try:
            texts.append(path.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError):
            continue
    return texts


def hide_credentials(text: str) -> str:
    """Replace `user:password` in the URLs of a text."""
    return _CREDENTIALS.sub("****", text)


def _pip_files(environ: Mapping[str, str]) -> list[Path]:
    home = Path(environ.get("HOME") or Path.home())
    if sys.platform == "win32":
        found = [
            Path(environ.get("PROGRAMDATA", "C:/ProgramData"), "pip", "pip.ini"),
            home / "pip" / "pip.ini",
            Path(environ.get("APPDATA", home), "pip", "pip.ini"),
            Path(sys.prefix, "pip.ini"),
        ]
    else:
        shared = (environ.get("XDG_CONFIG_DIRS") or "/etc/xdg").split(os.pathsep)
        found = [
            *(Path(folder, "pip", "pip.conf") for folder in reversed(shared)),
            Path("/etc/pip.conf"),
            home / ".pip" / "pip.conf",
            Path(environ.get("XDG_CONFIG_HOME") or home / ".config", "pip", "pip.conf"),
            Path(sys.prefix, "pip.conf"),
        ]
    if sys.platform == "darwin":
        support = "Library/Application Support/pip/pip.conf"
        found = [Path("/") / support, *found, home / support]
    if environ.get("PIP_CONFIG_FILE"):
        found.append(Path(environ["PIP_CONFIG_FILE"]))
    return found


def _option(name: str) -> str:
    option = name.lower().replace("_", "-").removeprefix("--")
    return "timeout" if option == "default-timeout" else option


def _is_true(value: str | None) -> bool:
    return (value or "").lower() in ("1", "true", "yes", "on", "y", "t")
