"""Full-text search of Creations in any language, on SQLite (FTS5) and PostgreSQL (tsvector).

Text is cut into words here, in Python, so that both databases find the same. Scripts that put no spaces between words (Chinese,
Japanese, Thai, ...) and emoji are cut into overlapping pairs of characters: the tokenisers of both databases miss words of two
characters, and most Chinese words have two. Knows words and the index; knows no other table's columns but those it indexes.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from typing import Any

from sqlalchemy import Connection, Select, cast, column, select, table, text

# PostgreSQL keeps positions up to 16,383 and tsvectors up to 1 MB; the same cut on SQLite, so that both find the same.
MAX_INDEXED_WORDS = 16_000
MAX_WORD_BYTES = 48
MAX_QUERY_WORDS = 64
# A shorter beginning of a word would match most of the index.
MIN_PREFIX_CHARACTERS = 3
# Raise it when the words of a text change: the index of an older number is rebuilt at the next start.
WORDS_VERSION = 1

_UNSPACED = (
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u2600-\u27bf\u3005-\u3007\u3040-\u30ff\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff"
    "\uac00-\ud7af\uf900-\ufaff\U0001f000-\U0001faff\U00020000-\U0003ffff"
)
_RUN = re.compile(f"(?P<pairs>[{_UNSPACED}]+)|[^\\s{_UNSPACED}]+")
_IS_UNSPACED = re.compile(f"[{_UNSPACED}]")
_LATIN_MARKS = re.compile("[\u0300-\u036f]+")
_INSERT = text("INSERT INTO creation_search (rowid, body) VALUES (:seq, :body)")
_DELETE = text("INSERT INTO creation_search (creation_search, rowid, body) VALUES ('delete', :seq, :body)")
_UPSERT = text(
    "INSERT INTO creation_search (creation_seq, document) VALUES (:seq, CAST(:body AS tsvector)) "
    "ON CONFLICT (creation_seq) DO UPDATE SET document = excluded.document"
)


class _Separators(dict[int, Any]):
    """Character → itself or a space; filled as characters come. Letters, marks and numbers are words; the rest separates."""

    def __missing__(self, code: int) -> str:
        character = chr(code)
        keeps = unicodedata.category(character)[0] in "LMN" or _IS_UNSPACED.match(character) is not None
        self[code] = value = character if keeps else " "
        return value


_SEPARATORS = _Separators()


def words(body: str) -> list[str]:
    """The words of a text as the index keeps them: no case, no Latin accents, unspaced scripts as pairs of characters.

    A run of n such characters gives n - 1 pairs and its last character, so that every character begins one word.
    """
    found: list[str] = []
    for match in _RUN.finditer(_normal(body)):
        run = match.group()
        if match.group("pairs"):
            found.extend(run[i : i + 2] for i in range(len(run)))
        else:
            found.append(_clip(run))
        if len(found) >= MAX_INDEXED_WORDS:
            return found[:MAX_INDEXED_WORDS]
    return found


def segment(body: str) -> str:
    """The words of a text with spaces between them: what FTS5 indexes."""
    return " ".join(words(body))


def index_version() -> int:
    """Number that changes when the same text may give other words (this file, or Python's Unicode tables)."""
    major, minor, *_ = unicodedata.unidata_version.split(".")
    return WORDS_VERSION * 10_000 + int(major) * 100 + int(minor)


def phrases(query: str) -> list[tuple[tuple[str, ...], bool]]:
    """What a query asks for, all of it at once: words that stand together, and whether the last is only a word's beginning.

    Text between double quotes stays together. The last word is taken as a beginning, because people search while they type.
    """
    found: list[tuple[tuple[str, ...], bool]] = []
    parts = query[:2_000].split('"')
    for position, part in enumerate(parts):
        is_quoted = position % 2 == 1 and position < len(parts) - 1
        asked = _asked(part)
        if is_quoted and asked:
            found.append((tuple(word for run, _ in asked for word in run), asked[-1][1] and len(asked[-1][0][-1]) == 1))
        else:
            found.extend(asked)
    found = found[:MAX_QUERY_WORDS]
    if found and not found[-1][1] and query[-1:] not in (" ", '"'):
        last, _ = found[-1]
        found[-1] = (last, len(last) == 1 and len(last[0]) >= MIN_PREFIX_CHARACTERS)
    return found


def match_query(query: str) -> str:
    """An FTS5 query of quoted phrases only, so that no input is a syntax error; "" when the query has no words."""
    return " AND ".join(f'"{" ".join(run)}"{" *" if is_beginning else ""}' for run, is_beginning in phrases(query))


def ts_query(query: str) -> str:
    """The same as a PostgreSQL tsquery; "" when the query has no words."""
    return " & ".join(
        "(" + " <-> ".join([f"'{w}'" for w in run[:-1]] + [f"'{run[-1]}'{':*' if is_beginning else ''}"]) + ")"
        for run, is_beginning in phrases(query)
    )


def ts_vector(body: str) -> str:
    """The words of a text as a PostgreSQL tsvector with positions."""
    return " ".join(f"'{word}':{position}" for position, word in enumerate(words(body), 1))


def body_of(prompt: str, output: str) -> str:
    """What of a Creation is searched."""
    return f"{prompt}\n{output}"


def matching(connection: Connection, query: str) -> Select[Any] | None:
    """Select of the `seq` of all Creations that match, of every owner: the caller filters. None when the query has no words."""
    if connection.dialect.name == "sqlite":
        fts = table("creation_search", column("rowid"), column("creation_search"))
        asked = match_query(query)
        return select(fts.c.rowid).where(fts.c.creation_search.op("MATCH")(asked)) if asked else None
    from sqlalchemy.dialects.postgresql import TSQUERY  # not needed, and not loaded, on SQLite

    documents = table("creation_search", column("creation_seq"), column("document"))
    asked = ts_query(query)
    return select(documents.c.creation_seq).where(documents.c.document.op("@@")(cast(asked, TSQUERY))) if asked else None


def put(connection: Connection, entries: Iterable[tuple[int, str]]) -> None:
    """Index Creations that are not indexed yet: pairs of seq and body."""
    if connection.dialect.name == "sqlite":
        rows = [{"seq": seq, "body": segment(body)} for seq, body in entries]
        statement = _INSERT
    else:
        rows = [{"seq": seq, "body": ts_vector(body)} for seq, body in entries]
        statement = _UPSERT
    if rows:
        connection.execute(statement, rows)


def replace(connection: Connection, seq: int, *, old_body: str, body: str) -> None:
    """Index a Creation anew. SQLite's index keeps no text, so it has to be told what to take out."""
    if connection.dialect.name == "sqlite":
        connection.execute(_DELETE, {"seq": seq, "body": segment(old_body)})
    put(connection, [(seq, body)])


def rebuild(connection: Connection, batch: int = 500) -> int:
    """Index all Creations from the beginning; the number of them."""
    if connection.dialect.name == "sqlite":
        connection.execute(text("INSERT INTO creation_search (creation_search) VALUES ('delete-all')"))
    else:
        connection.execute(text("DELETE FROM creation_search"))
    page = text("SELECT seq, prompt, output FROM creations WHERE seq > :after ORDER BY seq LIMIT :batch")
    after, total = 0, 0
    while rows := connection.execute(page, {"after": after, "batch": batch}).all():
        put(connection, [(row.seq, body_of(row.prompt, row.output)) for row in rows])
        after, total = rows[-1].seq, total + len(rows)
    return total


def _normal(body: str) -> str:
    if body.isascii():
        return body.lower().translate(_SEPARATORS)
    plain = _LATIN_MARKS.sub("", unicodedata.normalize("NFKD", body.casefold()))
    return unicodedata.normalize("NFC", plain).casefold().translate(_SEPARATORS)


def _asked(part: str) -> list[tuple[tuple[str, ...], bool]]:
    asked: list[tuple[tuple[str, ...], bool]] = []
    for match in _RUN.finditer(_normal(part)):
        run = match.group()
        if not match.group("pairs"):
            asked.append(((_clip(run),), False))
        elif len(run) == 1:
            asked.append(((run,), True))
        else:
            asked.append((tuple(run[i : i + 2] for i in range(len(run) - 1)), False))
    return asked


def _clip(word: str) -> str:
    data = word.encode("utf-8", "replace")
    return word if len(data) <= MAX_WORD_BYTES else data[:MAX_WORD_BYTES].decode("utf-8", "ignore")
