"""The self-test: faults planted in real tiles, and which score moves, by how much.

It answers, for given tiles and a given encoder, which scores can be trusted to see what. Phantom
tiles need no data and have measured expectations; anybody's own images do as well.
"""

from histosynth.selftest.scene import Scene, Tiles
from histosynth.selftest.score import Score, register_score
from histosynth.selftest.scores import registered_scores
from histosynth.selftest.table import Reaction, Result, self_test

__all__ = [
    "Reaction",
    "Result",
    "Scene",
    "Score",
    "Tiles",
    "register_score",
    "registered_scores",
    "self_test",
]
