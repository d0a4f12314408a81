"""How the pairs to verify are cut into pieces."""

import pytest

from fastdup_ray.runs.pair_pieces import Pieces
from fastdup_ray.verify.pieces import MOST_PIECES, PAIRS_OF_FIRST_PIECE, PAIRS_PER_PIECE


@pytest.mark.parametrize("pairs", [0, 1, PAIRS_OF_FIRST_PIECE, PAIRS_OF_FIRST_PIECE + 1, PAIRS_PER_PIECE, 5000])
def test_each_pair_is_in_one_piece(pairs):
    pieces = Pieces("folder", pairs)
    assert [pair for part in pieces.parts for pair in part] == list(range(pairs))
    assert sum(map(pieces.count_pairs, range(pieces.count))) == pairs
    assert all(map(pieces.count_pairs, range(pieces.count)))


def test_the_first_pieces_are_small_so_that_progress_shows():
    pieces = Pieces("folder", 5000)
    counts = [pieces.count_pairs(number) for number in range(pieces.count)]
    assert counts[0] == PAIRS_OF_FIRST_PIECE
    assert counts[:-1] == sorted(counts[:-1])
    assert max(counts) == PAIRS_PER_PIECE


def test_very_many_pairs_are_not_as_many_files():
    pieces = Pieces("folder", 20_000_000)
    assert pieces.count < 2 * MOST_PIECES
    assert sum(map(len, pieces.parts)) == 20_000_000
