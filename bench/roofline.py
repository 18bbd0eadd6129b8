#!/usr/bin/env python3
"""A plot of `sluice bench MODEL --roofline`: every product and the attention of a model beside what
memory and arithmetic of this machine allow.

    bench/roofline.py MODEL.gguf [--out FILE.svg]     default: docs/plots/roofline-CPU.svg

Nothing else may run. Standard library only.
"""

import argparse
import json
import pathlib
import sys

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.dont_write_bytecode = True
sys.path.insert(0, str(ROOT / "tools" / "show.d"))

import plot      # noqa: E402
import records   # noqa: E402
import showlib   # noqa: E402


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("model", type=pathlib.Path)
    parser.add_argument("--out", type=pathlib.Path)
    parser.add_argument("--batch", default="1,8,32,128", help="rows of products (default: %(default)s)")
    parser.add_argument("--depth", default="512,2048", help="contexts of attention (default: %(default)s)")
    arguments = parser.parse_args()
    out = arguments.out or ROOT / "docs" / "plots" / f"roofline-{records.slug(showlib.cpu_model())}.svg"
    text = showlib.sluice("bench", arguments.model, "--roofline", "--batch", arguments.batch, "--depth",
                          arguments.depth, "--json")
    limits, *operations = map(json.loads, text.splitlines())
    title = f"Roofline of {arguments.model.stem} on {showlib.cpu_model()}"
    print(plot.write_roofline(limits, operations, title, out))
    return 0


if __name__ == "__main__":
    sys.exit(main())
