"""The names of deployments, and templates that make one of each value of a tag.

`ltv_{tags.region}` makes `ltv_us` of an envelope whose tag `region` is `US`: names are URLs, so A-Z
of a value become a-z. A value that makes no name is never bent into one any further.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

from envelope.errors import ConfigError

DEPLOYMENT_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")
NAME_RULE = (
    "use 1 to 63 of a-z, 0-9, _ and -, beginning with a letter or digit, without '--' (reserved)"
)
MOST_TAGS = 8  # of one template; each is a join, of which SQLite takes 64
_HOLE = re.compile(r'\{((?:"(?:[^"]|"")*"|[^{}"])*)\}')
_TAG = re.compile(r'tags\.(?:([\w-]+)|"((?:[^"]|"")+)")')  # as a query names it
_LOWER = str.maketrans("ABCDEFGHIJKLMNOPQRSTUVWXYZ", "abcdefghijklmnopqrstuvwxyz")


def check_deployment_name(name: str) -> str:
    """Return `name` if it can be a URL segment of ours; raise ConfigError otherwise."""
    if not _can_be(name):
        raise ConfigError(f"{name!r} cannot be a deployment's name: {NAME_RULE}")
    return name


def _can_be(name: str) -> bool:
    return DEPLOYMENT_NAME.fullmatch(name) is not None and "--" not in name


@dataclass(frozen=True, slots=True, kw_only=True)
class Template:
    """texts: what stands around the tags, one more than there are tags; in the order of the text.

    tags: the keys whose values go between the texts; one may come twice.
    """

    text: str
    texts: tuple[str, ...]
    tags: tuple[str, ...]

    def may_make(self, name: str) -> bool:
        """Whether a name begins and ends as those that it makes."""
        return name.startswith(self.texts[0]) and name.endswith(self.texts[-1])

    @property
    def keys(self) -> tuple[str, ...]:
        """Each key once."""
        return tuple(dict.fromkeys(self.tags))


@dataclass(frozen=True, slots=True, kw_only=True)
class NoName:
    """why: no deployment can be made of these tags, and what to change."""

    why: str


def is_template(text: str) -> bool:
    """Whether it is meant as a template; no deployment's name has a brace."""
    return "{" in text or "}" in text


@lru_cache(maxsize=4096)
def read_template(text: str) -> Template:
    """Read a template such as "ltv_{tags.region}".

    Raises ConfigError for one that cannot be read, has no tag or over MOST_TAGS, or makes no name
    of any value.
    """
    texts, tags, end = [], [], 0
    for hole in _HOLE.finditer(text):
        found = _TAG.fullmatch(hole[1])
        if found is None:
            raise ConfigError(
                f"{text!r} holds {hole[0]!r}, which names no tag; write {{tags.KEY}}, or "
                '{tags."some key"}'
            )
        texts.append(text[end : hole.start()])
        tags.append(found[1] or found[2].replace('""', '"'))
        end = hole.end()
    template = Template(text=text, texts=(*texts, text[end:]), tags=tuple(tags))
    if not tags and not is_template(text):
        raise ConfigError(f"{text!r} is no template: it has no tag, written {{tags.KEY}}")
    if any(is_template(part) for part in template.texts):
        raise ConfigError(
            f"{text!r} has a brace that belongs to no tag; write each tag as {{tags.KEY}}"
        )
    if len(template.keys) > MOST_TAGS:
        raise ConfigError(f"{text!r} has {len(template.keys)} tags; use at most {MOST_TAGS}")
    if not _can_be(_fill(template, dict.fromkeys(tags, "0"))):
        raise ConfigError(f"{text!r} makes no deployment's name of any value: {NAME_RULE}")
    return template


def values_of(template: Template, tags: Mapping[str, str]) -> dict[str, str] | NoName:
    """Return the tags that a template asks for, as they are."""
    missing = [key for key in template.keys if key not in tags]
    if missing:
        names = " and ".join(map(repr, missing))
        return NoName(why=f"it has no tag {names}, which {template.text} asks for")
    return {key: tags[key] for key in template.keys}


def name_of(template: Template, values: Mapping[str, str]) -> str | NoName:
    """Return the name that a template makes. values: of each of its keys."""
    name = _fill(template, values)
    if _can_be(name) and all(values.values()):
        return name
    return NoName(
        why=f"{describe(values)} makes {name!r}, which cannot be a deployment's name; change the "
        f"tag, which must not be empty: {NAME_RULE}"
    )


def describe(values: Mapping[str, str]) -> str:
    """Write tags on one line.

    >>> describe({"region": "US", "tier": "gold"})
    "region='US', tier='gold'"
    """
    return ", ".join(f"{key}={value!r}" for key, value in values.items())


def _fill(template: Template, values: Mapping[str, str]) -> str:
    parts = [template.texts[0]]
    for key, text in zip(template.tags, template.texts[1:], strict=True):
        parts += [values[key].translate(_LOWER), text]
    return "".join(parts)
