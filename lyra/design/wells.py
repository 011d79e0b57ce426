"""Positions on plates of 96 and 384 wells."""

from string import ascii_uppercase

PLATES = {96: (8, 12), 384: (16, 24)}


def wells(count: int, size: int = 96) -> list[str]:
    """Names of wells, row by row: `A1`, `A2`, ...; of a second plate `2:A1`.

    Raises:
        KeyError: for a size of plate other than 96 and 384.
    """
    rows, columns = PLATES[size]
    names = [f"{ascii_uppercase[row]}{column + 1}" for row in range(rows) for column in range(columns)]
    return [(f"{number // size + 1}:" if number >= size else "") + names[number % size] for number in range(count)]
