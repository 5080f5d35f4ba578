"""The inputs of the next steps, made by a thread while the device computes.

Inputs are functions of step and positions alone, so what is made ahead is what would be made then.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Generic, TypeVar

Made = TypeVar("Made")
Piece = tuple[int, range]  # a step, and the positions of its batch that go through at once


class Prefetch(Generic[Made]):
    """Makes pieces in a known order, `ahead` of them before they are asked for.

    Parameters
    ----------
    make : a function of its argument alone
    following : of a piece, the piece after it, or None at the end
    ahead : 0 makes each piece when asked, without a thread
    """

    def __init__(
        self,
        make: Callable[[int, range], Made],
        following: Callable[[Piece], Piece | None],
        *,
        ahead: int,
    ) -> None:
        self._make, self._following, self._ahead = make, following, ahead
        self._pool = ThreadPoolExecutor(1, "inputs") if ahead else None
        self._made: dict[Piece, Future[Made]] = {}

    def get(self, step: int, positions: range) -> Made:
        if self._pool is None:
            return self._make(step, positions)
        piece = (step, positions)
        wanted = [piece, *self._after(piece)]
        for gone in self._made.keys() - set(wanted):
            self._made.pop(gone).cancel()
        for key in wanted:
            if key not in self._made:
                self._made[key] = self._pool.submit(self._make, *key)
        return self._made.pop(piece).result()

    def _after(self, piece: Piece) -> Iterator[Piece]:
        for _ in range(self._ahead):
            following = self._following(piece)
            if following is None:
                return
            piece = following
            yield piece

    def close(self) -> None:
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)
