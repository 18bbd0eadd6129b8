#!/usr/bin/env python3
"""Writes the Unicode tables of the tokenizers.

usage: gen_unicode.py classes > src/text/tokenizer/unicode_tables.c    what pre-tokenisers ask for
       gen_unicode.py folds   > src/text/tokenizer/unicode_folds.c     what WordPiece makes of characters

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
HANGUL = range(0xAC00, 0xD7A4)  # decomposed by arithmetic


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
        print("    " + " ".join("%s," % v for v in values[i:i + per_line]))


def filled_rows(values):
    """As many as a line of 100 columns takes."""
    line = "   "
    for value in values:
        if len(line) + len(value) + 2 > 100:
            print(line)
            line = "   "
        line += " " + value + ","
    print(line)


def write_classes():
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


def steps(pairs):
    """(first, last, step, delta): code points first, first + step, ... last become code + delta."""
    runs = []
    for code, to in pairs:
        delta = to - code
        if runs:
            first, last, step, run_delta = runs[-1]
            gap = code - last
            if delta == run_delta and (gap == step or (first == last and gap <= 2)):
                runs[-1] = (first, code, gap, delta)
                continue
        runs.append((code, code, 1, delta))
    return runs


def lower_of(code):
    """The simple mapping of UnicodeData.txt; Python's lower() has one full mapping in its place."""
    return ord(chr(code).lower()[0])


def write_folds():
    data = [chr(c) for c in range(0x110000)]
    base = [(c, ord(unicodedata2.normalize("NFD", t)[0])) for c, t in enumerate(data)
            if c not in HANGUL and not 0xD800 <= c < 0xE000 and unicodedata2.normalize("NFD", t) != t]
    lower = [(c, lower_of(c)) for c in range(0x110000)
             if unicodedata2.category(chr(c)) != "Cn" and lower_of(c) != c]
    silent = []
    for code, text in enumerate(data):
        if unicodedata2.category(text) in ("Cc", "Cf", "Co", "Cs") and code not in WHITE_SPACE:
            if silent and silent[-1][1] == code - 1:
                silent[-1][1] = code
            else:
                silent.append([code, code])
    print("/* What WordPiece makes of characters, from Unicode %s." % VERSION)
    print(" * Made by tools/gen_unicode.py; not to be edited. */")
    print('#include "text/tokenizer/unicode_fold.h"')
    for name, pairs in (("base", base), ("lower", lower)):
        runs = steps(pairs)
        print("\nconst sl_unicode_run sl_unicode_%s_runs[] = {" % name)
        filled_rows(["{0x%X, 0x%X, %d, %d}" % run for run in runs])
        print("};")
        print("const size_t sl_unicode_n_%s_runs = %d;" % (name, len(runs)))
    print("\nconst uint32_t sl_unicode_silent_ranges[][2] = {")
    filled_rows(["{0x%X, 0x%X}" % tuple(r) for r in silent])
    print("};")
    print("const size_t sl_unicode_n_silent_ranges = %d;" % len(silent))


def main():
    if unicodedata2.unidata_version != VERSION:
        sys.exit("gen_unicode.py: needs unicodedata2==%s, found %s" % (VERSION, unicodedata2.unidata_version))
    if sys.argv[1:] == ["classes"]:
        write_classes()
    elif sys.argv[1:] == ["folds"]:
        write_folds()
    else:
        sys.exit(__doc__)


main()
