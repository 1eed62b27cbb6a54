"""Downloads: one published data set at a time, asked for by name, believed when its checksum agrees."""

from __future__ import annotations

import difflib
import hashlib
import http.client
import shutil
import tarfile
import urllib.error
import urllib.request
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, cast

from workbench.published import PUBLISHED, Published

CHUNK = 1 << 20  # bytes
ATTEMPTS = 3  # connections that break one after the other without a byte
LONGEST_UNANNOUNCED = 1 << 30  # bytes, from a server that does not say how much it sends

Progress = Callable[[int, int | None], None]  # bytes so far, bytes in all where they are known


def fetch(
    name: str,
    folder: str | Path = "data",
    file: str | Path | None = None,
    trust: bool = False,
    timeout_s: float = 30.0,
    progress: Progress | None = None,
) -> Path:
    """The file of a published data set in `folder`, downloaded unless it is there; always compared with its checksum.

    A download that was interrupted goes on where it stopped. The sha256 of what was got is kept beside it, in a file
    that ends in .sha256, and compared the next time.

    file        a copy on this machine, taken instead of a download
    trust       accept a file for which no checksum is published, and record what came
    timeout_s   seconds without a byte after which a connection is given up

    Raises KeyError for an unknown name, FileNotFoundError where `file` is not there, ValueError for a set without
    checksum, one that must be got by hand, or a file that is not the one described (what was downloaded is removed),
    ConnectionError where the server cannot be reached or stops too early.
    """
    entry = named(name)
    target = Path(folder) / entry.file_name
    if entry.archive:
        archive = fetch(entry.archive, folder, file, trust, timeout_s, progress)
        return target if target.is_file() else _take_out(archive, entry.member, target)
    there = target.is_file()
    if not there and file is None and entry.by_hand:
        raise ValueError(
            f"{name} cannot be fetched: {entry.by_hand}. See {entry.url}; then give the file with --file"
        )
    if not (entry.checksum or _recorded(target) or trust):
        raise ValueError(
            f"{name}: no checksum is published, so that nobody can tell whether the right file comes. "
            "With --trust it is taken as it comes, and its sha256 recorded"
        )
    sha256 = _compare(entry, target, target) if there else _put(entry, target, file, timeout_s, progress)
    _record_of(target).write_text(f"{sha256}  {target.name}\n", encoding="utf-8")
    return target


def _put(
    entry: Published, target: Path, file: str | Path | None, timeout_s: float, progress: Progress | None
) -> str:
    """Bring the file to `target`, whole and compared, or not at all; its sha256."""
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f"{target.name}.partial")
    try:
        if file is not None:
            shutil.copyfile(file, partial)
        else:
            if not entry.checksum:
                partial.unlink(missing_ok=True)  # halves of two versions would go unnoticed
            _download(entry, partial, timeout_s, progress)
        sha256 = _compare(entry, partial, target)
    except ValueError:
        partial.unlink(missing_ok=True)
        raise
    partial.replace(target)
    return sha256


def named(name: str) -> Published:
    """Entry of a published set; an unknown name is answered with the nearest known one."""
    if name in PUBLISHED:
        return PUBLISHED[name]
    close = difflib.get_close_matches(name, PUBLISHED, n=1)
    hint = f"Did you mean {close[0]!r}?" if close else f"There are {', '.join(PUBLISHED)}."
    raise KeyError(f"no published data set {name!r}. {hint}")


# Checksums


def _compare(entry: Published, path: Path, target: Path) -> str:
    """The sha256 of a file that is the one described. Raises ValueError if it is another."""
    found = _digests(path)
    wanted = [entry.checksum] if entry.checksum else []
    wanted += [f"sha256:{_recorded(target)}"] if _recorded(target) else []
    for checksum in wanted:
        algorithm, _, digits = checksum.partition(":")
        if not found[algorithm].startswith(digits.lower()):
            raise ValueError(
                f"{entry.name}: {path} has {algorithm} {found[algorithm]}; expected {digits}. It is damaged or another "
                "version: fetch it again without that file, and if that fails, ask who publishes it"
            )
    return found["sha256"]


def _digests(path: Path) -> dict[str, str]:
    """All checksums of a file, hexadecimal, in one reading."""
    git = hashlib.sha1(f"blob {path.stat().st_size}\0".encode(), usedforsecurity=False)
    hashes = {
        "sha256": hashlib.sha256(),
        "md5": hashlib.md5(usedforsecurity=False),
        "git-blob-sha1": git,
    }
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            for one in hashes.values():
                one.update(chunk)
    return {algorithm: one.hexdigest() for algorithm, one in hashes.items()}


def _record_of(target: Path) -> Path:
    return target.with_name(f"{target.name}.sha256")


def _recorded(target: Path) -> str:
    """The sha256 that was recorded when the file was first got; "" where there is none."""
    record = _record_of(target)
    return record.read_text(encoding="utf-8").split()[0] if record.is_file() else ""


# The connection


def _download(entry: Published, partial: Path, timeout_s: float, progress: Progress | None) -> None:
    """Append to `partial` until the file is whole."""
    fruitless = 0
    problem: Exception | None = None
    while fruitless < ATTEMPTS:
        before = partial.stat().st_size if partial.exists() else 0
        try:
            with _opened(entry, before, timeout_s) as response:
                _receive(entry, response, partial, progress)
            return
        except urllib.error.HTTPError as error:
            if error.code == 416:  # nothing is left to send; the checksum tells whether that is so
                return
            raise ConnectionError(f"{entry.name}: {entry.url} answers {error.code} {error.reason}") from error
        except (OSError, http.client.HTTPException) as error:
            problem = error
        after = partial.stat().st_size if partial.exists() else 0
        fruitless = 0 if after > before else fruitless + 1
    raise ConnectionError(
        f"{entry.name}: {entry.url} cannot be read ({problem or type(problem).__name__}). What came is kept: the next "
        "fetch goes on from there"
    ) from problem


def _opened(entry: Published, start: int, timeout_s: float) -> http.client.HTTPResponse:
    """Answer of the server from byte `start` on."""
    if not entry.url.startswith(("https://", "http://")):
        raise ValueError(f"{entry.name}: {entry.url} is no address of the web")
    # Compressed on the way, the length would not be that of the file.
    headers = {"User-Agent": "longrange-workbench", "Accept-Encoding": "identity"}
    if start:
        headers["Range"] = f"bytes={start}-"
    response: http.client.HTTPResponse = urllib.request.urlopen(
        urllib.request.Request(entry.url, headers=headers), timeout=timeout_s
    )
    return response


def _receive(
    entry: Published, response: http.client.HTTPResponse, partial: Path, progress: Progress | None
) -> None:
    """Write what a server sends. Raises ConnectionError where it ends too early, ValueError where it is too much."""
    have = partial.stat().st_size if partial.exists() else 0
    resumed = response.headers.get("Content-Range", "").startswith(f"bytes {have}-")
    if response.status != 206 or not resumed:
        if response.status == 206:
            raise ValueError(f"{entry.name}: {entry.url} sends another part of the file than was asked for")
        have = 0  # the server sends all of it again
    announced = response.headers.get("Content-Length")
    total = have + int(announced) if announced else entry.size
    if entry.size is not None and total != entry.size:
        raise ValueError(
            f"{entry.name}: {entry.url} has {total} bytes, and should have {entry.size}; nothing was fetched"
        )
    free = shutil.disk_usage(partial.parent).free
    if total is not None and total - have > free:
        raise ValueError(f"{entry.name} needs {total - have} bytes; {partial.parent} has room for {free}")
    with partial.open("ab" if have else "wb") as file:
        while chunk := response.read(CHUNK):
            file.write(chunk)
            have += len(chunk)
            if have > (LONGEST_UNANNOUNCED if total is None else total):
                raise ValueError(f"{entry.name}: {entry.url} does not stop sending at {have} bytes; given up")
            if progress:
                progress(have, total)
    if total is not None and have < total:
        raise ConnectionError(f"ended after {have} of {total} bytes")


# Archives


def unpack(archive: str | Path, folder: str | Path | None = None) -> list[Path]:
    """Files of a .zip or .tar archive, written into `folder` [that of its name, beside it].

    Raises ValueError, before anything is written, for an archive that holds a link or a device, that would write
    outside the folder, or that is larger than the disk.
    """
    archive = Path(archive)
    folder = Path(folder) if folder else archive.with_name(archive.name.partition(".")[0])
    inside, free = folder.resolve(), shutil.disk_usage(archive.parent).free
    with _members(archive) as (sizes, content):
        for name in sizes:
            if not (inside / name).resolve().is_relative_to(inside):
                raise ValueError(f"{archive.name} would write {name!r}, outside {folder}; nothing was unpacked")
        if sum(sizes.values()) > free:
            raise ValueError(f"{archive.name} unpacks to {sum(sizes.values())} bytes; there is room for {free}")
        for name in sizes:
            path = inside / name
            path.parent.mkdir(parents=True, exist_ok=True)
            with content(name) as source, path.open("wb") as target:
                shutil.copyfileobj(source, target, CHUNK)
    return [folder / name for name in sizes]


def only_member(archive: Path, wanted: Callable[[Path], bool]) -> Path | None:
    """The one file of an archive that is wanted, taken out beside it; None where there are none or several, or where
    it is no archive."""
    try:
        with _members(archive) as (sizes, _):
            names = [name.rpartition("/")[2] for name in sizes if wanted(Path(name))]
    except ValueError:
        return None
    names = [name for name in names if not name.startswith("._")]  # what macOS adds to its archives
    if len(names) != 1:
        return None
    stem = archive.name.partition(".")[0]
    return _take_out(archive, names[0], archive.with_name(f"{stem}.{names[0].partition('.')[2]}"))


def _take_out(archive: Path, member: str, target: Path) -> Path:
    """One file of an archive. Raises ValueError where there is none of that name."""
    with _members(archive) as (sizes, content):
        found = next((name for name in sizes if name.rpartition("/")[2] == member), None)
        if found is None:
            raise ValueError(f"{archive.name} holds no {member}; it holds {', '.join(list(sizes)[:8])} ...")
        partial = target.with_name(f"{target.name}.partial")
        with content(found) as source, partial.open("wb") as file:
            shutil.copyfileobj(source, file, CHUNK)
        partial.replace(target)
    return target


@contextmanager
def _members(archive: Path) -> Iterator[tuple[dict[str, int], Callable[[str], IO[bytes]]]]:
    """Sizes of the files in an archive [bytes], and how to open one."""
    if zipfile.is_zipfile(archive):
        with zipfile.ZipFile(archive) as opened:
            yield {one.filename: one.file_size for one in opened.infolist() if not one.is_dir()}, opened.open
    elif tarfile.is_tarfile(archive):
        with tarfile.open(archive) as packed:
            members = [one for one in packed.getmembers() if not one.isdir()]
            odd = next((one.name for one in members if not one.isfile()), None)
            if odd is not None:
                raise ValueError(f"{archive.name} holds {odd!r}, no plain file; nothing was unpacked")
            yield (
                {one.name: one.size for one in members},
                lambda name: cast(IO[bytes], packed.extractfile(name)),
            )
    else:
        raise ValueError(f"{archive.name} is neither a zip nor a tar archive")
