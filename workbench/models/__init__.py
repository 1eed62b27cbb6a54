"""The models, by name."""

from __future__ import annotations

from difflib import get_close_matches
from typing import Any

from workbench.models.allscaip import AllScAIP
from workbench.models.contract import Output, Potential
from workbench.models.lorem import Lorem
from workbench.models.mlanet import MLANet

MODELS: dict[str, type[Potential]] = {
    Lorem.name: Lorem,
    AllScAIP.name: AllScAIP,
    MLANet.name: MLANet,
}

__all__ = ["MODELS", "Output", "Potential", "build"]


def build(name: str, preset: str | None = None, **config: Any) -> Potential:
    """A new model with random weights, ready to predict; call `train()` on it in a training loop of your own.

    name     one of MODELS
    preset   one of the model's presets ("tiny", "small", ...); None is the published default
    config   values that differ from the preset, by their names in the model's Config

    >>> model = build("lorem", "tiny", cutoff=4.0)

    Raises ValueError for an unknown name, preset or setting, or a value that the Config refuses.
    """
    model = MODELS.get(name)
    if model is None:
        raise ValueError(f"no model is called {name!r}; expected one of {sorted(MODELS)}{_hint(name, MODELS)}")
    if preset is not None and preset not in model.presets:
        raise ValueError(
            f"{name} has no preset {preset!r}; expected one of {sorted(model.presets)}"
            f"{_hint(preset, model.presets)}"
        )
    settings = {**(model.presets[preset] if preset else {}), **config}
    known = model.Config.__dataclass_fields__  # type: ignore[attr-defined]
    for setting in settings:
        if setting not in known:
            raise ValueError(
                f"{name} has no setting {setting!r}; expected some of {sorted(known)}{_hint(setting, known)}"
            )
    return model(model.Config(**settings)).eval()


def _hint(word: str, words: Any) -> str:
    close = get_close_matches(word, list(words), n=1)
    return f". Did you mean {close[0]!r}?" if close else ""
