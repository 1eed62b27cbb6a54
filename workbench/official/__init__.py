"""Weights of the official implementations, as our models, and back."""

from workbench.official.allscaip import (
    allscaip_config,
    allscaip_from_state_dict,
    allscaip_to_state_dict,
    load_allscaip,
)
from workbench.official.lorem import load_lorem, lorem_config, lorem_from_tree

__all__ = [
    "allscaip_config",
    "allscaip_from_state_dict",
    "allscaip_to_state_dict",
    "load_allscaip",
    "load_lorem",
    "lorem_config",
    "lorem_from_tree",
]
