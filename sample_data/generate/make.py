"""Make the sets of sample_data/ anew: `python sample_data/generate/make.py ethanol ion_pair water_box`.

A set is made in parts (trajectories, orientations). A finished part is kept under --work and found again there
by the next call, so that an interrupted run goes on where it stopped; changing the script of a set, or
reference.py, begins it anew. Every part has random numbers of its own: --parts 100 makes a larger set that begins
with the same frames.
"""

import argparse
import hashlib
import time
from importlib.metadata import version
from pathlib import Path
from types import ModuleType

import ase.io
import black_phosphorus
import charged_clusters
import cumulene
import dimers
import ethanol
import formate_copper
import ion_pair
import lithium_crystals
import malonaldehyde
import reference
import small_molecules
import sodium_chloride
import water_box
from ase import Atoms

SETS = {
    "ethanol": ethanol,
    "malonaldehyde": malonaldehyde,
    "small_molecules": small_molecules,
    "dimers": dimers,
    "cumulene": cumulene,
    "ion_pair": ion_pair,
    "charged_clusters": charged_clusters,
    "water_box": water_box,
    "sodium_chloride": sodium_chloride,
    "lithium_crystals": lithium_crystals,
    "black_phosphorus": black_phosphorus,
    "formate_copper": formate_copper,
}
HERE = Path(__file__).parent


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("sets", nargs="*", default=list(SETS), choices=list(SETS), help="default: all")
    parser.add_argument("--work", type=Path, default=Path("runs/sample_data"), help="folder of finished parts")
    parser.add_argument("--out", type=Path, default=HERE.parent, help="folder the sets are written to")
    parser.add_argument("--parts", type=int, help="how many parts of each set [as many as sample_data/ has]")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    for name in arguments.sets:
        frames = made_parts(name, arguments.work, arguments.parts or SETS[name].N_PARTS)
        path = arguments.out / f"{name}.xyz.gz"
        reference.write_set(path, frames)
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        print(f"{path.name}: {len(frames)} frames, {path.stat().st_size / 1000:.0f} kB, sha256 {digest}")
        print(f"  {SETS[name].METHOD} by tblite {version('tblite')}, ase {version('ase')}")


def made_parts(name: str, work: Path, n_parts: int) -> list[Atoms]:
    """All frames of a set; parts finished earlier by the same scripts are read back from `work`."""
    made = SETS[name]
    folder = work / f"{name}-{fingerprint(made)}"
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{part:02d}.xyz.gz" for part in range(n_parts)]
    missing = [part for part, path in enumerate(paths) if not path.exists()]
    start = time.perf_counter()
    for done, part in enumerate(missing):
        frames = []
        for frame in made.frames(part):
            frames.append(frame)
            print(f"\r{name}: part {part + 1} of {n_parts}, frame {len(frames)}", end="", flush=True)
        unfinished = paths[part].with_suffix(".unfinished")
        reference.write_set(unfinished, frames)
        unfinished.replace(paths[part])  # a part is there whole or not at all
        left = (time.perf_counter() - start) / (done + 1) * (len(missing) - done - 1)
        print(f"\r{name}: part {part + 1} of {n_parts} done, {left:.0f} s left", flush=True)
    return [frame for path in paths for frame in ase.io.read(path, ":", format="extxyz")]


def fingerprint(made: ModuleType) -> str:
    """Eight hex digits that change with the script of a set or with reference.py."""
    sources = Path(made.__file__).read_bytes() + Path(reference.__file__).read_bytes()
    return hashlib.sha256(sources).hexdigest()[:8]


if __name__ == "__main__":
    main()
