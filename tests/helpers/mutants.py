"""Damaged copies of files."""

import random
import struct


def mutated(draw: random.Random, files: list[tuple[str, bytes]]) -> tuple[str, bytes]:
    """One of the files with bytes flipped, cut, spliced with another, blanked or repeated; mostly near its start."""
    suffix, original = draw.choice(files)
    data = bytearray(original)
    for _ in range(draw.choice((1, 1, 2, 5))):
        place = int(len(data) * draw.random() ** draw.choice((1, 3)))
        match draw.choice(("flip", "flip", "flip", "cut", "splice", "blank", "repeat", "number")):
            case "flip":
                for _ in range(draw.choice((1, 3, 30))):
                    data[int(len(data) * draw.random() ** 2)] ^= 1 << draw.randrange(8)
            case "cut":
                del data[max(1, place) :]
            case "splice":
                _, other = draw.choice(files)
                data[place:] = other[int(len(other) * draw.random()) :] or b"\0"
            case "blank":
                length = min(draw.choice((4, 64, 1024)), len(data) - place)
                data[place : place + length] = bytes(length)
            case "repeat":
                data[place:place] = data[place : place + draw.choice((4, 64, 1024))]
            case "number":
                data[place : place + 4] = struct.pack(
                    draw.choice("<>") + "I", draw.choice((0, 1, 0x7FFFFFFF, 0xFFFFFFFF, 50_000, 1 << 16))
                )
    return suffix, bytes(data)
