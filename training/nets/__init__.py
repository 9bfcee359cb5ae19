"""The networks: tables of rows, the interpreter that builds them, heads, folding, and the served graph."""

from training.nets.ablations import find_variant
from training.nets.deploy import DeployModel, fuse, to_deploy
from training.nets.graph import Network, build_network
from training.nets.head import Implicit, decode
from training.nets.variants import VARIANTS, Variant

__all__ = [
    "VARIANTS",
    "DeployModel",
    "Implicit",
    "Network",
    "Variant",
    "build_network",
    "decode",
    "find_variant",
    "fuse",
    "to_deploy",
]
