"""Pictures of worlds made of cells, without a window: what the grid suites draw themselves with needs a display."""

from __future__ import annotations

import numpy as np

Colour = tuple[int, int, int]
WHITE, LINES, BLACK, GREY = (255, 255, 255), (222, 222, 222), (30, 30, 30), (165, 165, 165)
GREEN, BLUE, ORANGE, RED = (120, 180, 90), (76, 120, 168), (245, 160, 60), (205, 75, 70)

# Three columns and five rows of dots per digit.
_DIGITS = (
    *("111101101101111", "010110010010111", "111001111100111", "111001111001111", "101101111001001"),
    *("111100111001111", "111100111101111", "111001001001001", "111101111101111", "111101111001111"),
)


class Board:
    """``image``: uint8 [rows · cell + 1, columns · cell + 1, 3], to be painted on cell by cell; rows count from the top."""

    def __init__(self, rows: int, columns: int, cell: int) -> None:
        """``cell``: dots along a cell's side; lines between cells are drawn where there is room for them, from 6 on."""
        self.cell, self.line = cell, int(cell >= 6)
        self.image = np.full((rows * cell + 1, columns * cell + 1, 3), WHITE, np.uint8)
        if self.line:
            self.image[::cell] = LINES
            self.image[:, ::cell] = LINES

    def fill(self, row: int, column: int, colour: Colour, size: int = 1) -> None:
        """Paint a cell, or a square of ``size`` cells below and right of it."""
        top, left = row * self.cell + self.line, column * self.cell + self.line
        side = size * self.cell - self.line
        self.image[top : top + side, left : left + side] = colour

    def disc(self, row: int, column: int, colour: Colour, towards: tuple[int, int] | None = None) -> None:
        """Paint a disc into a cell; ``towards``: (down, right), each −1 to 1: where its nose points."""
        down, right = (np.indices((self.cell, self.cell)) + 0.5) / self.cell * 2 - 1
        shape = down**2 + right**2 < 0.68
        if towards is not None:
            shape |= (down - 0.75 * towards[0]) ** 2 + (right - 0.75 * towards[1]) ** 2 < 0.06
        self.image[row * self.cell :, column * self.cell :][: self.cell, : self.cell][shape] = colour

    def number(self, row: int, column: int, value: int, colour: Colour = WHITE) -> None:
        """Write a number into the middle of a cell."""
        dots = [np.array(list(_DIGITS[int(digit)])).reshape(5, 3) == "1" for digit in str(value)]
        gap = np.zeros((5, 1), bool)
        text = np.concatenate([part for digit in dots for part in (digit, gap)][:-1], axis=1)
        text = text.repeat(scale := max(1, self.cell // 12), 0).repeat(scale, 1)
        height, width = text.shape
        top, left = row * self.cell + (self.cell - height) // 2, column * self.cell + (self.cell - width) // 2
        self.image[top : top + height, left : left + width][text] = colour
