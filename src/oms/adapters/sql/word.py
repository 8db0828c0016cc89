"""The column type of names and other short text."""

from __future__ import annotations

from sqlalchemy import String
from sqlalchemy.dialects.postgresql import VARCHAR


def word(length: int) -> String:
    """Text of so many characters at most, in the order of its code points, as Python and SQLite sort.

    PostgreSQL would sort by the database's language: workers that lock rows in Python's order and in the server's
    would wait for each other crosswise, and a new release of the language's rules would break the indexes.
    """
    return String(length).with_variant(VARCHAR(length, collation="C"), "postgresql")
