"""One spelling for all that a change of letters can be written as."""

from collections.abc import Callable


def shorten(start: int, old: str, new: str, letter_at: Callable[[int], str], floor: int = 0) -> tuple[int, str, str]:
    """The change of `old` into `new` without the letters that both share, and moved to the left as far as it goes where
    it inserts or deletes (Tan et al. 2015).

    Args:
        start: of `old`.
        letter_at: the letter of the unchanged sequence at an index.
        floor: the lowest `start`.
    """
    while old and new and old[-1] == new[-1]:
        old, new = old[:-1], new[:-1]
    while old and new and old[0] == new[0]:
        start, old, new = start + 1, old[1:], new[1:]
    if old and new:
        return start, old, new
    moving = old or new
    while moving and start > floor and letter_at(start - 1) == moving[-1]:
        start, moving = start - 1, moving[-1] + moving[:-1]
    return start, old and moving, new and moving
