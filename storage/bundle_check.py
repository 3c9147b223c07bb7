"""An open bundle that anybody may have made, distrusted: names, sizes, hashes and every row are checked before one is used.

Knows hostile zips: "..", absolute names, links, bombs, duplicate and overlapping members. Knows no database.
"""

from __future__ import annotations

import errno
import hashlib
import io
import json
import stat
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from sqlalchemy import Table

from storage.bundle_format import (
    ADAPTER_FILES,
    ADAPTERS,
    FILES,
    FORMAT_VERSION,
    MANIFEST,
    PARTS_OF,
    TABLES,
    WEIGHTS,
    from_json,
    identity,
)
from storage.errors import BundleError
from storage.files import CHUNK_BYTES, is_good_name
from storage.tables import adapters

MAX_MEMBERS = 1_000_000
# A zip can say a thousand times more than it holds. Ours hold text, pictures and weights: less than a tenth of that.
FREE_BYTES = 256 << 20
MAX_RATIO = 200
MAX_LINE_BYTES = 64 << 20
_ENCRYPTED = 0x1

Row = dict[str, Any]


def checked_bundle(archive: zipfile.ZipFile, path: Path) -> OpenBundle:
    """The bundle, all of it read once. Raises BundleError, for whatever zipfile says of a damaged file."""
    try:
        bundle = OpenBundle(archive, path.stat().st_size)
        bundle.check_members()
        bundle.check_rows()
    except (zipfile.LargeZipFile, zlib.error, NotImplementedError, EOFError, RuntimeError, ValueError) as error:
        raise BundleError(f"The file is no bundle, or it is damaged ({error}). Nothing was changed.") from error
    except OSError as error:
        if error.errno != errno.EINVAL:  # a member before the beginning of the file
            raise
        raise BundleError("The file is no bundle, or it is damaged. Nothing was changed.") from error
    return bundle


class OpenBundle:
    """An open bundle: the manifest, checked members, rows."""

    def __init__(self, archive: zipfile.ZipFile, size_bytes: int) -> None:
        self._archive = archive
        self._infos = _checked_infos(archive, size_bytes)
        self._manifest = self._read_manifest()

    @property
    def members(self) -> dict[str, Any]:
        """The manifest's description of each member."""
        members: dict[str, Any] = self._manifest["members"]
        return members

    def files(self, prefix: str) -> dict[str, str]:
        """Name of each file of one store (FILES or ADAPTERS) → its sha256."""
        return {name.removeprefix(prefix): said["sha256"] for name, said in self.members.items() if name.startswith(prefix)}

    def rows(self, table: Table) -> Iterator[Row]:
        """The table's rows, checked, in their order."""
        name = f"{table.name}.jsonl"
        if name not in self.members:
            return
        with self._archive.open(self._infos[name]) as member:
            for line in _lines(member):
                yield from_json(table, _parsed(line, name))

    def chunks(self, name: str) -> Iterator[bytes]:
        """A member's bytes."""
        with self._archive.open(self._infos[name]) as member:
            while chunk := member.read(CHUNK_BYTES):
                yield chunk

    def check_members(self) -> None:
        """Raises BundleError unless the zip holds exactly what the manifest says, to the byte."""
        for name in self.members:
            if not _belongs(name):
                raise BundleError(f"The bundle has a member {name!r} that does not belong there. Nothing was changed.")
        if self.members.keys() != self._infos.keys() - {MANIFEST}:
            raise BundleError("The bundle does not hold what its manifest says. Nothing was changed.")
        for name, said in self.members.items():
            digest, size_bytes = hashlib.sha256(), 0
            with self._archive.open(self._infos[name]) as member:
                while chunk := member.read(CHUNK_BYTES):
                    digest.update(chunk)
                    size_bytes += len(chunk)
            if size_bytes != said["size_bytes"] or digest.hexdigest() != said["sha256"]:
                raise BundleError(f"{name} in the bundle is damaged: its checksum is wrong. Nothing was changed.")

    def check_rows(self) -> None:
        """Raises BundleError unless every row is right in itself, no id is there twice, and counts are as said."""
        whole: dict[str, set[str]] = {}
        for name, table in TABLES.items():
            seen: set[str] = set()
            number = 0
            column, of = PARTS_OF.get(name, ("", ""))
            for row in self.rows(table):
                seen.add(identity(table, row))
                number += 1
                if of and row[column] not in whole[of]:
                    raise BundleError(f"A row of {name} is part of one that is not in the bundle. Nothing was changed.")
                if table is adapters:
                    self._check_adapter(row)
            if len(seen) != number:
                raise BundleError(f"The bundle has two rows of {name} with one id. Nothing was changed.")
            if number != self._manifest["counts"].get(name, 0):
                raise BundleError(f"The bundle has not as many rows of {name} as it says. Nothing was changed.")
            whole[name] = seen
        owned = {f"{id}/{file}" for id in whole["adapters"] for file in ADAPTER_FILES}
        if not self.files(ADAPTERS).keys() <= owned:
            raise BundleError("The bundle has files of an adapter that is not in it. Nothing was changed.")

    def _check_adapter(self, row: Row) -> None:
        if not is_good_name(f"{row['id']}/{WEIGHTS}"):
            raise BundleError("An adapter has a bad id. Nothing was changed.")
        files = self.files(ADAPTERS)
        there = [name for name in ADAPTER_FILES if f"{row['id']}/{name}" in files]
        if there and len(there) < len(ADAPTER_FILES):
            raise BundleError("An adapter in the bundle is not complete. Nothing was changed.")
        if there and files[f"{row['id']}/{WEIGHTS}"] != row["sha256"]:
            raise BundleError("An adapter and its weights have different checksums. Nothing was changed.")

    def _read_manifest(self) -> dict[str, Any]:
        if MANIFEST not in self._infos:
            raise BundleError("The file is no bundle: it has no manifest.json. Nothing was changed.")
        with self._archive.open(self._infos[MANIFEST]) as member:
            data = member.read(MAX_LINE_BYTES + 1)
        if len(data) > MAX_LINE_BYTES:
            raise BundleError("The bundle's manifest is too long. Nothing was changed.")
        manifest = _parsed(data, MANIFEST)
        if not isinstance(manifest, dict) or not isinstance(manifest.get("format"), int):
            raise BundleError("The bundle's manifest is damaged. Nothing was changed.")
        if manifest["format"] > FORMAT_VERSION:
            raise BundleError("The bundle was made by a newer version of Tastemaker; update it. Nothing was changed.")
        members, counts = manifest.get("members"), manifest.get("counts")
        good = isinstance(members, dict) and isinstance(counts, dict) and all(_is_description(said) for said in members.values())
        if not good:
            raise BundleError("The bundle's manifest is damaged. Nothing was changed.")
        return manifest


def _checked_infos(archive: zipfile.ZipFile, size_bytes: int) -> dict[str, zipfile.ZipInfo]:
    """Members by name. Raises BundleError for a zip that no honest program makes."""
    infos = archive.infolist()
    if len(infos) > MAX_MEMBERS:
        raise BundleError("The bundle has too many members. Nothing was changed.")
    by_name: dict[str, zipfile.ZipInfo] = {}
    for info in infos:
        mode = info.external_attr >> 16
        if info.is_dir() or (stat.S_IFMT(mode) not in (0, stat.S_IFREG)) or info.flag_bits & _ENCRYPTED:
            raise BundleError(f"The bundle has a member {info.filename!r} that is no plain file. Nothing was changed.")
        # The name as it is in the zip: Python shortens one that has a NUL.
        if info.orig_filename != info.filename or info.filename in by_name or "\\" in info.filename:
            raise BundleError(f"The bundle has a bad or doubled name {info.filename!r}. Nothing was changed.")
        by_name[info.filename] = info
    # Members that share their bytes are how a small zip says a lot.
    if sum(info.compress_size for info in infos) > size_bytes:
        raise BundleError("The bundle's members overlap. Nothing was changed.")
    unpacked = sum(info.file_size for info in infos)
    if unpacked > max(FREE_BYTES, MAX_RATIO * size_bytes):
        raise BundleError("The bundle would unpack to far more than it holds. Nothing was changed.")
    return by_name


def _belongs(name: str) -> bool:
    """Whether a member of this name can be in a bundle."""
    if name.startswith(ADAPTERS):
        return is_good_name(name) and name.count("/") == 2 and name.rpartition("/")[2] in ADAPTER_FILES
    if name.startswith(FILES):
        return is_good_name(name.removeprefix(FILES))
    return name.removesuffix(".jsonl") in TABLES and name.endswith(".jsonl")


def _is_description(said: Any) -> bool:
    return isinstance(said, dict) and isinstance(said.get("sha256"), str) and isinstance(said.get("size_bytes"), int)


def _lines(member: IO[bytes]) -> Iterator[bytes]:
    buffered = io.BufferedReader(member, CHUNK_BYTES)  # type: ignore[type-var]
    while line := buffered.readline(MAX_LINE_BYTES + 1):
        if len(line) > MAX_LINE_BYTES:
            raise BundleError("A row of the bundle is too long. Nothing was changed.")
        yield line


def _parsed(data: bytes, name: str) -> Any:
    try:
        return json.loads(data.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise BundleError(f"{name} in the bundle is damaged. Nothing was changed.") from error
