#!/usr/bin/env python3
"""Writes src/text/tokenizer/unicode_tables.c: the character classes that pre-tokenisers ask for.

usage: gen_unicode.py > src/text/tokenizer/unicode_tables.c

The data is Unicode 15.1.0, the version that the reference tokenisers' results were made with. It comes from
the Python package unicodedata2, pinned: pip install unicodedata2==15.1.0. White space is the White_Space
property, which the package does not have; it is listed here (PropList.txt of the same version).
"""
import sys

import unicodedata2

VERSION = "15.1.0"
BLOCK = 128  # code points of one block

WHITE_SPACE = {*range(0x09, 0x0E), 0x20, 0x85, 0xA0, 0x1680, *range(0x2000, 0x200B), 0x2028, 0x2029,
               0x202F, 0x205F, 0x3000}
LETTER, NUMBER, PUNCT, SYMBOL, MARK, SPACE, UPPER, LOWER = (1 << i for i in range(8))


def class_of(code):
    category = unicodedata2.category(chr(code))
    flags = {"L": LETTER, "N": NUMBER, "P": PUNCT, "S": SYMBOL, "M": MARK}.get(category[0], 0)
    if category in ("Lu", "Lt"):
        flags |= UPPER
    if category == "Ll":
        flags |= LOWER
    if code in WHITE_SPACE:
        flags |= SPACE
    return flags


def rows(values, per_line):
    for i in range(0, len(values), per_line):
        print("    " + " ".join("%d," % v for v in values[i:i + per_line]))


def main():
    if unicodedata2.unidata_version != VERSION:
        sys.exit("gen_unicode.py: needs unicodedata2==%s, found %s" % (VERSION, unicodedata2.unidata_version))
    blocks, index, known = [], [], {}
    for first in range(0, 0x110000, BLOCK):
        block = tuple(class_of(c) for c in range(first, first + BLOCK))
        if block not in known:
            known[block] = len(blocks)
            blocks.append(block)
        index.append(known[block])
    assert len(blocks) <= 256
    print("/* Character classes of Unicode %s, in blocks of %d code points. Made by tools/gen_unicode.py;"
          % (VERSION, BLOCK))
    print(" * not to be edited. Flags: see unicode_class.h. */")
    print('#include "text/tokenizer/unicode_class.h"\n')
    print("const uint8_t sl_unicode_block_index[%d] = {" % len(index))
    rows(index, 24)
    print("};\n")
    print("const uint8_t sl_unicode_block_class[][%d] = {" % BLOCK)
    for block in blocks:
        print("    {")
        rows(block, 24)
        print("    },")
    print("};")


main()
