#!/usr/bin/env python3
"""Adds up JUnit files and prints the closing line: tools/sum_results.py DIR EXIT_CODE...

Ends with `N passed, N failed` (and `, N skipped`). The exit code is 1 when a test failed, when
nothing ran, or when a runner's exit code says that something failed which no file shows.
"""

import pathlib
import sys
import xml.etree.ElementTree as tree


def main(arguments):
    passed = failed = skipped = 0
    for path in sorted(pathlib.Path(arguments[0]).glob("*.xml")):
        for case in tree.parse(path).getroot().iter("testcase"):
            if case.find("failure") is not None or case.find("error") is not None:
                failed += 1
                print(f"FAILED {path.stem}: {case.get('name')}")
            elif case.find("skipped") is not None:
                skipped += 1
            else:
                passed += 1
    if failed == 0 and any(code != "0" for code in arguments[1:]):
        print("FAILED: a test runner ended with an error; see above")
        failed = 1
    if passed + failed == 0:
        print("FAILED: no test ran")
        failed = 1
    print(f"{passed} passed, {failed} failed" + (f", {skipped} skipped" if skipped else ""))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
