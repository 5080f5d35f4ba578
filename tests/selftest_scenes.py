"""The phantom scene that the self-test's command takes, drawn once for all its tests."""

from functools import lru_cache

from histosynth.encoders.texture import TextureEncoder
from histosynth.selftest.scene import Scene
from histosynth.selftest.sources import phantom_scene


@lru_cache
def phantom() -> Scene:
    return phantom_scene(TextureEncoder("texture"))
