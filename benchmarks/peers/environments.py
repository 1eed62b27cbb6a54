"""Environments of the peers, one each because their dependencies exclude each other: build/peers/NAME.

    python benchmarks/peers/environments.py [NAME ...]

MACE with LES is left out: LES is on no package index.
"""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2] / "build" / "peers"
TORCH = "torch==2.13.0"  # the version everything here was measured with


@dataclass(frozen=True)
class Peer:
    """What is compared with: a name for tables, its environment, the script with its arguments, and variables."""

    name: str
    environment: str
    command: tuple[str, ...]
    variables: dict[str, str] = field(default_factory=dict)

    @property
    def python(self) -> Path:
        return ROOT / self.environment / "bin" / "python"


PACKAGES = {
    "nequip": ("nequip==0.19.1",),
    "metatrain": ("metatrain[soap-bpnn]==2026.4.1", "torch-pme==0.5.0"),
    "mace": ("mace-torch==0.3.16",),
    "fairchem": (
        *("e3nn==0.6.0", "ase==3.29.0", "numpy", "hydra-core", "torchtnt", "setuptools<81", "huggingface_hub"),
        *("lmdb<=1.7.3", "ase-db-backends", "numba", "orjson", "submitit", "clusterscope==0.0.18", "monty"),
        *("requests", "tqdm", "pyyaml", "backoff", "websockets", "wandb"),
    ),
}
# Packages that ask for far more than a CPU needs (CUDA's Python, CUTLASS): what they do need stands in PACKAGES.
WITHOUT_DEPENDENCIES = {"fairchem": ("fairchem-core==2.24.0",)}
PEERS = (
    Peer("NequIP, preset S", "nequip", ("nequip_models.py", "S")),
    Peer("NequIP, 3 layers, l = 2", "nequip", ("nequip_models.py", "l2")),
    Peer("SOAP-BPNN + long range", "metatrain", ("metatrain_lr.py", "soap_bpnn")),
    Peer("PET + long range", "metatrain", ("metatrain_lr.py", "pet")),
    # e3nn 0.4, which MACE pins, reads its own constants by a pickle that torch no longer opens unasked.
    Peer("MACE 96x0e+96x1o", "mace", ("mace_96.py",), {"TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD": "1"}),
)


def make(name: str) -> None:
    """Make the environment called `name`, once. Raises subprocess.CalledProcessError where pip fails."""
    folder = ROOT / name
    ready = folder / "ready"
    if ready.is_file():
        return
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    # torch is named with its version in the same call, so that pip takes no other build along the way.
    install = [str(folder / "bin" / "python"), "-m", "pip", "install", "--quiet"]
    subprocess.run([*install, TORCH, *PACKAGES[name]], check=True)
    if name in WITHOUT_DEPENDENCIES:
        subprocess.run([*install, "--no-deps", *WITHOUT_DEPENDENCIES[name]], check=True)
    ready.touch()


if __name__ == "__main__":
    for wanted in sys.argv[1:] or PACKAGES:
        make(wanted)
