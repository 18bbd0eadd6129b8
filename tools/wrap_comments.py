#!/usr/bin/env python3
"""Wraps comments that pass column 100, which clang-format is told to leave alone because it would
join the lines of drawings: tools/wrap_comments.py FILE...

Only lines that are too long change. What overflows goes in front of the next line where both are
running text, else onto a line of its own. A comment behind code moves above it (below a brace).
"""

import pathlib
import re
import sys

LIMIT = 100
LIST_ITEM = re.compile(r"(-|\d[.)]|\(?[a-z]\)) ")


def is_prose(text):
    """Running text: no columns drawn with spaces, no list item."""
    return bool(text) and not re.search(r"\S {2,}\S", text) and not LIST_ITEM.match(text)


def split_at_limit(text, room):
    """(what fits, the rest); cuts at a space, at least one word fits."""
    at = text.rfind(" ", 0, room + 1)
    if at <= 0:
        at = text.find(" ")
        if at < 0:
            return text, ""
    head, rest = text[:at].rstrip(), text[at + 1:].lstrip()
    if rest == "*/":  # the end of a comment does not stand alone
        at = head.rfind(" ")
        head, rest = head[:at].rstrip(), head[at + 1:] + " */"
    return head, rest


def comment_parts(line):
    """(prefix, prefix of further lines, text) of a line that is all comment."""
    opening = re.match(r"(\s*)/\*(\s*)", line)
    if opening:
        return opening.group(), opening.group(1) + " *" + (opening.group(2) or " "), \
            line[opening.end():]
    inner = re.match(r"\s*\*?\s*", line).group()
    return inner, inner, line[len(inner):]


def wrap_all_comment(lines, i, closes):
    """Breaks line i, a line of comment only, and hands what is left to line i + 1."""
    prefix, further, text = comment_parts(lines[i])
    head, rest = split_at_limit(text, LIMIT - len(prefix))
    if not rest:
        return False
    lines[i] = prefix + head
    if LIST_ITEM.match(text):
        further += " " * LIST_ITEM.match(text).end()
    if not closes and i + 1 < len(lines):
        next_prefix, _, next_text = comment_parts(lines[i + 1])
        if next_prefix == further and is_prose(text) and is_prose(next_text) and \
                next_text != "*/" and not lines[i + 1].strip() == "*/":
            lines[i + 1] = further + rest + " " + next_text
            return True
    lines.insert(i + 1, further + rest)
    return True


def move_trailing(lines, i, start):
    """Moves the comment that begins behind code in line i above the line (or below its brace)."""
    code = lines[i][:start].rstrip()
    body = [lines[i][start:]]
    last = i
    while "*/" not in body[-1] and last + 1 < len(lines):
        last += 1
        body.append(re.sub(r"^\s*\*?\s?", "", lines[last]))
    end = body[-1].index("*/") + 2
    if body[-1][end:].strip():
        return False  # code follows the comment
    indent = re.match(r"\s*", code).group()
    if code.endswith("{"):
        lines[i:last + 1] = [code, indent + "    " + " ".join(x.strip() for x in body)]
    else:
        lines[i:last + 1] = [indent + " ".join(x.strip() for x in body), code]
    return True


def find_comment(line):
    """Where a comment begins in a line of code, or -1; literals are skipped."""
    for match in re.finditer(r"\"(?:\\.|[^\"\\])*\"|'(?:\\.|[^'\\])*'|/\*", line):
        if match.group() == "/*":
            return match.start()
    return -1


def wrap(text):
    lines = text.split("\n")
    i, inside = 0, False
    while i < len(lines):
        line = lines[i]
        start = 0 if inside else find_comment(line)
        begins_here = not inside and start >= 0 and not line[:start].strip()
        closes = "*/" in line[max(start, 0):]
        if len(line) > LIMIT and start >= 0 and not line.rstrip().endswith("\\"):
            if inside or begins_here:
                if wrap_all_comment(lines, i, closes):
                    closes = "*/" in lines[i]
            elif move_trailing(lines, i, start):
                continue  # the moved line may be too long still
        if inside or start >= 0:
            inside = not closes
        i += 1
    return "\n".join(lines)


def main(files):
    for name in files:
        path = pathlib.Path(name)
        old = path.read_text()
        new = wrap(old)
        if new != old:
            path.write_text(new)


if __name__ == "__main__":
    main(sys.argv[1:])
