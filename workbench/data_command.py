"""What `workbench data` does: list data sets, look into one, check one, store one on disk, fetch a published one."""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench import flags
from workbench.commands import FAILURE, Answer, table

if TYPE_CHECKING:
    from workbench.stored import StoredFrames
    from workbench.structures import Frames


def data_options(parser: argparse.ArgumentParser) -> None:
    from workbench.checks import LABELS

    parser.add_argument(
        "what",
        choices=("list", "show", "check", "convert", "fetch"),
        help="the data sets by name; what is in DATA; what is wrong with it (exit code 1 if a training would be); "
        "store DATA, a file of any size, in OUT.h5, from which a training reads what it needs; download DATA, one of "
        "the published sets, compare it with its checksum, and store it ready to train",
    )
    flags.add_data(parser, nargs="?")
    parser.add_argument("out", metavar="OUT.h5", nargs="?", help="the file that convert makes")
    parser.add_argument(
        "--needed",
        nargs="*",
        choices=LABELS,
        default=["energy", "forces"],
        metavar="LABEL",
        help="labels that every frame must have, for check [energy forces]",
    )
    parser.add_argument(
        "--leave-out",
        action="store_true",
        help="convert: leave out frames with errors, instead of ending there",
    )
    group = parser.add_argument_group("fetch")
    group.add_argument("--folder", default="data", help="where the file is put [data]")
    group.add_argument("--file", help="a copy on this machine, taken instead of a download")
    group.add_argument(
        "--trust",
        action="store_true",
        help="accept a set for which no checksum is published, and record that of what came",
    )
    group.add_argument(
        "--convert", action=argparse.BooleanOptionalAction, default=True, help="store it ready to train [yes]"
    )
    group.add_argument("--unpack", action="store_true", help="of an archive: write its files beside it")


def data(args: argparse.Namespace) -> Answer:
    from workbench.catalogue import DATASETS
    from workbench.published import PUBLISHED

    if args.what == "list":
        return _list()
    if args.data is None:
        fetched = args.what == "fetch"
        among = f"one of {', '.join(PUBLISHED if fetched else DATASETS)}"
        raise ValueError(f"data {args.what} needs DATA: {among if fetched else 'a file, or ' + among}")
    if args.what == "fetch":
        return _fetch(args)
    if args.what == "convert":
        return _convert(args)
    if args.what == "show" and args.data in PUBLISHED and not Path(args.data).exists():
        return _show_published(args.data)
    with flags.quiet():  # findings are the answer here, not a warning
        frames = flags.frames(args.data, args.index, args.split, **flags.given(args, flags.READING))
    return _check(frames, args.needed) if args.what == "check" else _show(frames)


def _list() -> Answer:
    from workbench.catalogue import DATASETS
    from workbench.published import PUBLISHED

    shipped = [[d.name, f"{d.n_frames} frames", d.method, d.title] for d in DATASETS.values()]
    published = [
        [
            one.name,
            one.checksum.partition(":")[0] or "by hand" * bool(one.by_hand) or "--trust",
            one.licence,
            one.title,
        ]
        for one in PUBLISHED.values()
    ]
    document = {
        "datasets": list(map(asdict, DATASETS.values())),
        "published": list(map(asdict, PUBLISHED.values())),
    }
    text = f"{table(shipped)}\n\npublished elsewhere, for workbench data fetch:\n{table(published)}"
    return Answer(document, text)


def _convert(args: argparse.Namespace) -> Answer:
    from workbench.conversion import convert

    if args.out is None:
        raise ValueError("data convert needs two files: the one to read and OUT.h5, the one to make")
    with flags.quiet(), _shown_progress() as progress:
        keys = flags.given(args, flags.READING)
        stored = convert(args.data, args.out, leave_out=args.leave_out, progress=progress, **keys)
    return Answer({"file": stored.path, **stored.about}, f"{stored.path}: {_told(stored)}")


def _told(stored: StoredFrames) -> str:
    """What a conversion kept and what it did not, in sentences."""
    about = stored.about
    labels = ", ".join(f"{name} of {n}" for name, n in about["labels"].items()) or "no label"
    lines = [f"{about['n_frames']} frames, {about['n_atoms']} atoms in {about['units']}; {labels}"]
    if about["frames_left_out"]:
        lines.append(f"left out: {about['frames_left_out']} frames with errors")
    if about["not_kept"]:
        not_kept = ", ".join(f"{name} ({n} frames)" for name, n in about["not_kept"].items())
        lines.append(f"not kept: {not_kept}")
    lines += [
        f"warning: {what} ({n} frames, of each thousand by itself)" for what, n in about["warnings"].items()
    ]
    return "\n".join([*lines, f"to train: workbench train {stored.path} --folder runs/NAME --workers 2"])


@contextmanager
def _shown_progress() -> Iterator[Callable[[int, float | None], None] | None]:
    """One line on the terminal about a conversion, with the time left where it can be known."""
    if not sys.stderr.isatty():
        yield None
        return
    began = time.monotonic()

    def show(n_frames: int, share: float | None) -> None:
        seconds = time.monotonic() - began
        left = f", {seconds / share - seconds:.0f} s left" if share else ""
        line = f"{n_frames} frames, {n_frames / max(seconds, 1e-9):.0f}/s{left}"
        print(f"\r{line:<60}", end="", file=sys.stderr, flush=True)

    yield show
    print(file=sys.stderr)


def _fetch(args: argparse.Namespace) -> Answer:
    from workbench.conversion import prepare, ready_from
    from workbench.downloads import fetch, named, only_member, unpack

    def show(so_far: int, total: int | None) -> None:
        of = f" of {total / 1e6:.1f}" if total else ""
        print(f"\r{so_far / 1e6:.1f}{of} MB", end="", file=sys.stderr, flush=True)

    entry = named(args.data)
    path = fetch(entry.name, args.folder, args.file, args.trust, progress=show if sys.stderr.isatty() else None)
    if sys.stderr.isatty():
        print(file=sys.stderr)
    files = unpack(path) if args.unpack else []
    whole = named(entry.archive) if entry.archive else entry
    checked = (
        f"agrees with {whole.checksum}" if whole.checksum else "no checksum is published; its own is recorded"
    )
    text = (
        f"{path}: {path.stat().st_size} bytes, {checked}\nlicence: {entry.licence}\nto cite: {entry.citation}"
    )
    text += f"\nnote: {entry.note}" * bool(entry.note) + "".join(f"\n{one}" for one in files)
    document = {**asdict(entry), "file": path, "unpacked": files}
    if not args.convert:
        return Answer(document, text)
    source = path if ready_from(path) else only_member(path, ready_from)
    if source is None:
        return Answer(document, f"{text}\nnot made ready to train: {path.suffix} is no form that `read` knows")
    with flags.quiet(), _shown_progress() as progress:
        stored = prepare(entry, source, progress)
    ready = f"{text}\nready to train: {stored.path}, {_told(stored)}"
    return Answer({**document, "ready": stored.path, "about": stored.about}, ready)


def _show_published(name: str) -> Answer:
    """What is known of a published set, and whether it is here."""
    from workbench.catalogue import fetched
    from workbench.published import PUBLISHED

    entry = PUBLISHED[name]
    facts = asdict(entry)
    shown = [(key.replace("_", " "), fact) for key, fact in facts.items() if fact and key != "results"]
    text = table(shown)
    if entry.results:
        rows = [(f"  {r.model}", r.quantity, f"{r.value:g} {r.unit}", r.source) for r in entry.results]
        text += f"\n\nwhat others reached:\n{table(rows)}"
    try:
        stored = fetched(name)
    except FileNotFoundError:
        return Answer(facts, f"{text}\n\nto get it: workbench data fetch {name}")
    return Answer(
        {**facts, "ready": stored.path, "about": stored.about}, f"{text}\n\nit is here: {stored.path}"
    )


def _show(frames: Frames | StoredFrames) -> Answer:
    from workbench.catalogue import DATASETS
    from workbench.stored import StoredFrames

    known: dict[str, Any] = asdict(DATASETS[frames.name]) if frames.name in DATASETS else {}
    whole, frames = frames, frames.sample() if isinstance(frames, StoredFrames) else frames
    stored: dict[str, Any] = whole.about if isinstance(whole, StoredFrames) else {}
    sizes = [len(frame) for frame in frames]
    facts: dict[str, Any] = {
        "name": frames.name,
        **{key: known[key] for key in ("title", "effect", "method", "units", "licence") if key in known},
        "n_frames": len(whole),
        "n_looked_at": len(frames) if len(frames) < len(whole) else None,
        "n_atoms": [min(sizes), max(sizes)],
        "periodic_directions": sorted({int(frame.pbc.sum()) for frame in frames}),
        "formulae": dict(Counter(frame.get_chemical_formula() for frame in frames).most_common(10)),
        "splits": dict(Counter(str(frame.info["split"]) for frame in frames if "split" in frame.info)),
        "labels": {source.quantity: source.key for source in frames.sources} or stored.get("labels", {}),
        **{key: stored[key] for key in ("source", "units", "licence", "citation") if key in stored},
    }
    shown = {
        name: ", ".join(f"{k} ({v})" for k, v in fact.items()) if isinstance(fact, dict) else fact
        for name, fact in facts.items()
    }
    return Answer(facts, table([(name.replace("_", " "), fact) for name, fact in shown.items() if fact]))


def _check(frames: Frames | StoredFrames, needed: Sequence[str]) -> Answer:
    from workbench.checks import check
    from workbench.stored import StoredFrames

    whole, frames = frames, frames.sample() if isinstance(frames, StoredFrames) else frames
    findings = check(frames, needed, whole.name)
    errors = [finding for finding in findings if finding.severity == "error"]
    verdict = (
        f"{len(errors)} errors, {len(findings) - len(errors)} warnings in {len(frames)} frames of {whole.name}"
    )
    if len(frames) < len(whole):
        verdict += f" (stretches of the {len(whole)}; all were looked at when they were stored)"
    document = {"name": whole.name, "n_frames": len(frames), "findings": [asdict(f) for f in findings]}
    text = "\n".join([*(f"{f.severity}: {f}" for f in findings), verdict])
    return Answer(document, text, FAILURE if errors else 0, verdict if errors else "")
