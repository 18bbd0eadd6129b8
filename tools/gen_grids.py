#!/usr/bin/env python3
"""Writes src/quant/grids_iq.c: the codebooks of the IQ1, IQ2 and IQ3 formats, packed.

usage: gen_grids.py > src/quant/grids_iq.c

An entry of a codebook is a point of a grid: 8 coordinates of 3 levels (2 bits each), or 4 coordinates of
8 levels (4 bits each), the first coordinate in the lowest bits. What a level stands for is arithmetic and
is left to decode_iq.c; this program checks that arithmetic. The points are facts of the file format; they
come from the Python package gguf, pinned: pip install gguf==0.19.0.
"""
import importlib.metadata
import sys

from gguf import quants

VERSION = "0.19.0"

# name, class that has the grid, bits of a coordinate, the value of level c
GRIDS = [
    ("iq2_xxs", quants.IQ2_XXS, 2, lambda c: 8 + 17 * c + (c >> 1)),
    ("iq2_xs", quants.IQ2_XS, 2, lambda c: 8 + 17 * c + (c >> 1)),
    ("iq2_s", quants.IQ2_S, 2, lambda c: 8 + 17 * c + (c >> 1)),
    ("iq1", quants.IQ1_S, 2, lambda c: c - 1),
    ("iq3_xxs", quants.IQ3_XXS, 4, lambda c: 4 + 8 * c + 2 * (c + 1 >> 3)),
    ("iq3_s", quants.IQ3_S, 4, lambda c: 1 + 2 * c),
]


def packed(name, kind, bits, value):
    kind.init_grid()
    levels = {int(v): c for c, v in enumerate(kind.grid_map)}
    for v, c in levels.items():
        assert value(c) == v, (name, c, v)
    points = kind.grid.reshape(kind.grid_shape)
    assert points.shape[1] * bits == 16
    return [sum(levels[int(v)] << bits * i for i, v in enumerate(p)) for p in points]


def main():
    found = importlib.metadata.version("gguf")
    if found != VERSION:
        sys.exit("gen_grids.py: needs gguf==%s, found %s" % (VERSION, found))
    print("/* Codebooks of the IQ formats. Made by tools/gen_grids.py; not to be edited. Packing: see")
    print(" * grids_iq.h. */")
    print('#include "quant/grids_iq.h"')
    for name, kind, bits, value in GRIDS:
        points = packed(name, kind, bits, value)
        print("\nconst uint16_t sl_grid_%s[%d] = {" % (name, len(points)))
        for i in range(0, len(points), 12):
            print("    " + " ".join("0x%04x," % p for p in points[i:i + 12]))
        print("};")


main()
