"""What the atoms of a structure may carry: a number, a vector, a tensor each, or links between them; with its key.

The values are those of the frame that is shown; `frames` holds those of every frame where they differ.
"""

from __future__ import annotations

import html
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import numpy as np

from widgets.palette import NEGATIVE, POSITIVE, ColourScale, css

#: Arrows, and links without a sign: amber and blue of Okabe and Ito (2008).
ARROW, LINK = (0.90, 0.62, 0.0), (0.0, 0.45, 0.70)

AnyMark = TypeVar("AnyMark", "Colouring", "Vectors", "Tensors")


@dataclass(frozen=True)
class Colouring:
    """
    values   (n_atoms,)
    frames   (n_frames, n_atoms), or None
    """

    values: np.ndarray
    scale: ColourScale
    label: str
    unit: str
    frames: np.ndarray | None = None

    def key(self) -> str:
        return self.scale.bar(self.label, self.unit)

    def words(self) -> str:
        span = f"{np.nanmin(self.values):.3g} to {np.nanmax(self.values):.3g}"
        return f"coloured by {self.label}, from {span} {self.unit}".rstrip()

    @property
    def name(self) -> str:
        return f"{self.label} [{self.unit}]" if self.unit else self.label


@dataclass(frozen=True)
class Vectors:
    """
    values    (n_atoms, 3)
    scale     Å of arrow per unit of the vectors
    longest   of all frames
    frames    (n_frames, n_atoms, 3), or None
    """

    values: np.ndarray
    scale: float
    longest: float
    label: str
    unit: str
    frames: np.ndarray | None = None

    def key(self) -> str:
        shape = (
            '<svg width="46" height="12" style="flex:none" aria-hidden="true"><path d="M0 4.5H32V0L46 6 32 12V7.5H0Z"'
            f' fill="{css(ARROW)}"/></svg>'
        )
        text = f"{self.label}, longest {self.longest:.3g} {self.unit}".rstrip()
        if self.longest > 0:
            text += f", drawn {self.scale * self.longest:.2g} Å long"
        return _entry(shape, text)

    def words(self) -> str:
        return f"arrows: {self.label}, longest {self.longest:.3g} {self.unit}".rstrip()


@dataclass(frozen=True)
class Tensors:
    """
    values    (n_atoms, 3, 3)
    size      longest semi-axis [Å]
    largest   eigenvalue by size, of all frames
    frames    (n_frames, n_atoms, 3, 3), or None
    """

    values: np.ndarray
    size: float
    largest: float
    label: str
    unit: str
    frames: np.ndarray | None = None

    def key(self) -> str:
        long_one = f'<ellipse cx="14" cy="7" rx="14" ry="5" fill="{css(POSITIVE)}"/>'
        flat_one = f'<ellipse cx="37" cy="7" rx="4" ry="7" fill="{css(NEGATIVE)}"/>'
        shape = f'<svg width="44" height="14" style="flex:none" aria-hidden="true">{long_one}{flat_one}</svg>'
        text = f"{self.label}, strongest eigenvalue {self.largest:.3g} {self.unit}".rstrip()
        return _entry(shape, text + "; red: positive along the long axis, blue: negative along the short")

    def words(self) -> str:
        words = f"ellipsoids: {self.label}, largest eigenvalue {self.largest:.3g} {self.unit}".rstrip()
        return words + "; red: long along the axis, blue: flat along it"

    def colours(self) -> np.ndarray:
        """(n_atoms, 3) red where the eigenvalue of largest size is positive, blue where it is negative."""
        eigenvalues = np.linalg.eigvalsh(self.values)
        positive = eigenvalues[:, -1] > -eigenvalues[:, 0]
        return np.where(positive[:, None], POSITIVE, NEGATIVE)


@dataclass(frozen=True)
class Links:
    """
    pairs     (n, 2) atoms
    radii     (n,) [Å]
    largest   weight, that of the widest
    colour    0..1
    """

    pairs: np.ndarray
    radii: np.ndarray
    largest: float
    label: str
    colour: Any

    def key(self) -> str:
        wedge = f'<path d="M0 5.5L46 1V11L0 6.5Z" fill="{css(self.colour)}"/>'
        shape = f'<svg width="46" height="12" style="flex:none" aria-hidden="true">{wedge}</svg>'
        return _entry(shape, f"{self.label}, widest {self.largest:.3g}")

    def words(self) -> str:
        return f"{len(self.pairs)} links: {self.label}, widest {self.largest:.3g}"


def in_frame(mark: AnyMark, index: int) -> AnyMark:
    """The same with the values of frame `index`, if it has such."""
    return mark if mark.frames is None else replace(mark, values=mark.frames[index])


def per_atom(values: Any, n_atoms: int, shape: tuple[int, ...], name: str, n_frames: int = 1) -> np.ndarray:
    """A checked copy of `values` (n_atoms, *shape), or (n_frames, n_atoms, *shape) where there are several frames.

    Raises ValueError when the shape is another.
    """
    array = np.array(values, float)
    wanted = [(n_atoms, *shape)]
    if n_frames > 1:
        wanted.append((n_frames, n_atoms, *shape))
    if array.shape not in wanted:
        raise ValueError(
            f"{name} has shape {array.shape}; expected {' or '.join(map(str, wanted))}, one row per atom of this"
            " structure"
        )
    return array


def _entry(shape: str, text: str) -> str:
    """One line of the legend: a picture and what it means."""
    style = (
        "display:flex; align-items:center; gap:8px; margin-top:4px; font-size:12px; line-height:1.3;"
        " color:var(--jp-ui-font-color1, inherit)"
    )
    return f'<div class="wb-key" style="{style}">{shape}<span>{html.escape(text)}</span></div>'
