"""What `workbench card` does: the model card of a run, made from its folder, its data and a test."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING

from workbench import flags
from workbench.commands import Answer, add_validation, parts

if TYPE_CHECKING:
    import ase


def card_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", metavar="RUN", help="the folder of a run")
    flags.add_data(parser)
    add_validation(parser)
    parser.add_argument(
        "--test",
        metavar="DATA",
        help="structures the run has not seen: a file, or a data set by name "
        '[the frames of DATA whose info["split"] is test]',
    )
    parser.add_argument(
        "--test-index",
        default=":",
        metavar="FRAMES",
        help="which frames of --test; as in ASE: 0:100, ::10 [all]",
    )
    parser.epilog = (
        "Give DATA and how to read it, --validation and --group as in the workbench train that made RUN."
    )


def card(args: argparse.Namespace) -> Answer:
    from workbench.card import card
    from workbench.runs import Run

    run = Run.open(args.run)
    train, _, _ = parts(args, run.config.seed)
    test = _test(args)
    text = card(run, train, test)
    return Answer({"run": run.folder, "n_test": len(test), "card": text}, text.rstrip())


def _test(args: argparse.Namespace) -> Sequence[ase.Atoms]:
    from workbench.catalogue import DATASETS

    keys = flags.given(args, flags.READING)
    if args.test is not None:
        return flags.frames(args.test, args.test_index, **({} if args.test in DATASETS else keys))
    try:
        return flags.frames(args.data, split="test", **keys)
    except ValueError as error:
        raise ValueError(f"{error}. Say with --test what to test with") from error
