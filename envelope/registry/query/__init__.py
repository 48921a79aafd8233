"""The query language: parse it, ask it of a database, ask it of one envelope in memory."""

from envelope.registry.query.memory import EnvelopeFacts, matches
from envelope.registry.query.parse import parse
from envelope.registry.query.paths import quote_segment
from envelope.registry.query.sql import to_sql
from envelope.registry.query.tree import Key, Query, leaves

__all__ = [
    "EnvelopeFacts",
    "Key",
    "Query",
    "leaves",
    "matches",
    "parse",
    "query_from_tags",
    "to_sql",
]


def query_from_tags(tags: dict[str, str]) -> str:
    """Write the query that asks for all these tags.

    >>> query_from_tags({"region": "US", "some key": "it's"})
    "tags.region = 'US' and tags.\\"some key\\" = 'it''s'"
    """
    from envelope.registry.text import MAX_VALUE_BYTES, check_key, check_text

    terms = []
    for key, value in tags.items():
        check_key(key, "the key of a tag")
        check_text(value, f"the value of tag {key!r}", max_bytes=MAX_VALUE_BYTES)
        quoted = value.replace("'", "''")
        terms.append(f"tags.{quote_segment(key)} = '{quoted}'")
    return " and ".join(terms)
