"""Snapshots behind a URL that fsspec understands: s3://, gs://, sftp://, memory://, ... How independent runs share."""

from __future__ import annotations

import contextlib
from typing import Any

from sfmarl.errors import UsageError
from sfmarl.league.store import FileStore, temporary_name


class UrlStore(FileStore):
    """Snapshots in a folder of any file system that fsspec has a driver for.

    A snapshot is uploaded under another name and moved. Where moving is not atomic a reader may meet half a file, which
    its hash gives away: it is refused, never used.
    """

    def __init__(self, url: str, **options: Any) -> None:
        """`options` go to the driver. Raises UsageError when fsspec or the driver is missing or refuses the URL."""
        try:
            import fsspec
        except ImportError as error:
            raise UsageError(f"{url}: stores behind a URL need fsspec: pip install fsspec.") from error
        try:
            self._fs, self._root = fsspec.core.url_to_fs(url, use_listings_cache=False, **options)
        except (ImportError, ValueError, TypeError) as error:
            raise UsageError(f"{url} cannot be opened: {error}") from error
        self.where = url.rstrip("/")

    def _read(self, name: str, size: int | None) -> bytes:
        return self._fs.cat_file(self._join(name), end=size)

    def _write(self, name: str, data: bytes) -> None:
        self._fs.makedirs(self._root, exist_ok=True)
        temporary = self._join(temporary_name(name))
        try:
            self._fs.pipe_file(temporary, data)
            self._fs.mv(temporary, self._join(name))
        except BaseException:
            with contextlib.suppress(Exception):
                self._fs.rm_file(temporary)
            raise

    def _exists(self, name: str) -> bool:
        return self._fs.isfile(self._join(name))

    def _names(self) -> list[str]:
        if not self._fs.isdir(self._root):
            return []
        return [path.rstrip("/").rpartition("/")[2] for path in self._fs.ls(self._root, detail=False)]

    def _remove(self, name: str) -> None:
        self._fs.rm_file(self._join(name))

    def _join(self, name: str) -> str:
        return f"{self._root.rstrip('/')}/{name}"
