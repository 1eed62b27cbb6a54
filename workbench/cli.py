"""The command line, in the words of the Python API: `workbench train | evaluate | card | md | explain | data | lab |
doctor`.

Exit codes: 0 success, 1 failure, 2 a mistake of the user, 130 stopped by Ctrl-C. Rooms are imported inside the
commands, so that `workbench --help` answers at once.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NoReturn

from workbench import card_command, commands, data_command
from workbench.commands import FAILURE, INTERRUPTED, MISTAKE, Answer, table


@dataclass(frozen=True)
class Command:
    """One word of the command line. `options` adds its arguments, once it is known that they are wanted."""

    help: str
    options: Callable[[argparse.ArgumentParser], None]
    run: Callable[[argparse.Namespace], Answer]


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.exit(MISTAKE, f"{self.prog}: {message}. See {self.prog} --help\n")


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code. Raises SystemExit where argparse does: --help, a misspelt flag."""
    words = _dashed(sys.argv[1:] if argv is None else argv)
    args = argparse.Namespace(command="", json=False, debug=False)
    try:
        _parser(words).parse_args(words, args)
        answer = COMMANDS[args.command].run(args)
    except KeyboardInterrupt:
        answer = _failed("interrupted", INTERRUPTED)
    except Exception as error:
        if args.debug:
            traceback.print_exc()
        answer = _explained(error)
    document = {"command": args.command, **answer.document}
    if answer.error:
        document["error"] = answer.error
        print(f"workbench {args.command}: {answer.error}", file=sys.stderr)
    if args.json and len(document) > 1:
        print(json.dumps(_plain(document), ensure_ascii=False))
    elif answer.text and not args.json:
        print(answer.text)
    return answer.code


def _dashed(words: Sequence[str]) -> list[str]:
    """--time_ps, as the Python API spells it, is --time-ps. What follows "--" is for another program."""
    end = words.index("--") if "--" in words else len(words)
    flags = [word.partition("=") for word in words[:end]]
    spelt = [(w.replace("_", "-") if w.startswith("--") else w) + sign + value for w, sign, value in flags]
    return spelt + list(words[end:])


def _parser(words: Sequence[str]) -> argparse.ArgumentParser:
    parser = _Parser(prog="workbench", description="Long-range machine-learning interatomic potentials.")
    kinds = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    chosen = next((word for word in words if not word.startswith("-")), None)
    for name, command in COMMANDS.items():
        one = kinds.add_parser(
            name,
            help=command.help,
            description=command.help,
            allow_abbrev=False,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        one.add_argument("--json", action="store_true", help="print one JSON document and nothing else")
        one.add_argument("--debug", action="store_true", help="show where an error arose")
        if name == chosen:
            command.options(one)
    return parser


def _failed(reason: str, code: int) -> Answer:
    return Answer({}, "", code, reason)


def _explained(error: Exception) -> Answer:
    """An exception in one line. What the library says of its input is about a mistake of the user."""
    reason = str(error.args[0]) if isinstance(error, KeyError) and error.args else str(error)
    if isinstance(error, ValueError | KeyError | FileNotFoundError | FileExistsError | NotADirectoryError):
        return _failed(reason, MISTAKE)
    if not isinstance(error, OSError | ImportError) and type(error).__name__ != "Diverged":
        reason = f"{type(error).__name__}: {reason}. --debug shows where"
    return _failed(reason, FAILURE)


# lab


def _lab_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--app", action="store_true", help="the same panels as an app, without code")
    parser.add_argument("--runs", metavar="FOLDER", help="where the app keeps its runs [notebooks/runs]")
    parser.add_argument(
        "options", nargs="*", metavar="-- OPTION", help="for JupyterLab, such as -- --no-browser"
    )


def _lab(args: argparse.Namespace) -> NoReturn:
    notebooks = Path(__file__).resolve().parents[1] / "notebooks"
    if find_spec("jupyterlab") is None:
        raise ModuleNotFoundError("JupyterLab is not installed: pip install longrange-workbench[notebook]")
    if not notebooks.is_dir():
        raise FileNotFoundError(
            f"there is no folder {notebooks}: the notebooks come with the source, not with an installed package. "
            "Clone the repository and install it from there with pip install -e '.[notebook]'"
        )
    command = [sys.executable, "-m", "jupyter", "lab", "--ip=127.0.0.1"]
    command += ["--allow-root"] * (hasattr(os, "getuid") and os.getuid() == 0)
    # OpenMP's threads sleep while they wait: awake, they keep each other from working on a busy machine.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    if args.app:
        if args.runs:
            os.environ["WORKBENCH_RUNS"] = str(Path(args.runs).resolve())
        command += _app(notebooks / "app")
    else:
        command += ["--LabApp.default_url=/lab/tree/notebooks/00_tour.ipynb"]
        os.chdir(notebooks.parent)
    sys.stdout.flush()
    os.execv(sys.executable, [*command, *args.options])  # so that Ctrl-C and the exit code are JupyterLab's own


def _app(folder: Path) -> list[str]:
    """Voilà as a part of JupyterLab's server, which keeps the token; by itself it would let everybody in."""
    if find_spec("voila") is None:
        raise ModuleNotFoundError("Voilà is not installed: pip install longrange-workbench[notebook]")
    os.chdir(folder)  # where Voilà finds its settings, and its template beside them
    os.environ["JUPYTER_PATH"] = os.pathsep.join(filter(None, [str(folder), os.environ.get("JUPYTER_PATH")]))
    # Without an address Voilà takes the MathJax that it brings along; else one from the network.
    offline = "--ServerApp.tornado_settings={'mathjax_url': None, 'mathjax_config': None}"
    return ["--LabApp.default_url=/voila/render/workbench.ipynb", offline]


# doctor


def _doctor_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--folder", default=".", help="where runs are kept; its disk is measured [.]")


def _doctor(args: argparse.Namespace) -> Answer:
    from workbench.doctor import findings

    found = findings(folder=args.folder)
    rows = [[one.state, one.check, one.found] for one in found]
    lines = [f"\n{one.check}: {one.found}. This repairs it:\n  {one.repair}" for one in found if one.repair]
    failed = [one for one in found if one.state == "fail"]
    verdict = f"{len(failed)} of {len(found)} checks failed" if failed else ""
    document = {"findings": [asdict(one) for one in found]}
    return Answer(document, "\n".join([table(rows), *lines]), FAILURE if failed else 0, verdict)


# What is printed


def _plain(value: Any) -> Any:
    """What JSON knows, of what Python holds: no tuple, path, numpy; NaN is null."""
    value = value.tolist() if hasattr(value, "tolist") else value
    if isinstance(value, Mapping):
        return {str(key): _plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if isinstance(value, str | int | None) else str(value)


COMMANDS = {
    "train": Command("train a model on labelled structures", commands.train_options, commands.train),
    "evaluate": Command(
        "errors of a trained model on labelled structures", commands.evaluate_options, commands.evaluate
    ),
    "card": Command(
        "the model card of a run: what it is, how good, where not to use it",
        card_command.card_options,
        card_command.card,
    ),
    "md": Command("run molecular dynamics, and judge its energy drift", commands.md_options, commands.md),
    "explain": Command(
        "look inside one prediction: charges, attention", commands.explain_options, commands.explain
    ),
    "data": Command(
        "list data sets, look into one, check one, store one for training from disk, fetch a published one",
        data_command.data_options,
        data_command.data,
    ),
    "lab": Command("open the notebooks in JupyterLab", _lab_options, _lab),
    "doctor": Command(
        "is this installation in order? if not, the line that repairs it", _doctor_options, _doctor
    ),
}
