#!/usr/bin/env python3
"""The plots of docs/performance.md, as SVG that follows the reader's light or dark setting.

    bench/plot.py      draws all again from bench/results

bench/compare.py and bench/kernel_table.py draw theirs when they record. Standard library only.
"""

import math
import pathlib
import sys
from xml.sax.saxutils import escape

# class -> (property, light, dark)
COLOURS = {"paper": ("fill", "#ffffff", "#0d1117"), "soft": ("fill", "#59636e", "#9198a1"),
           "grid": ("stroke", "#e4e8ec", "#272d36"), "one": ("stroke", "#59636e", "#9198a1"),
           "good": ("fill", "#2a78d6", "#5598e7"), "none": ("fill", "#9aa4ae", "#6e7681"),
           "bad": ("fill", "#c4432b", "#f0765f"), "track": ("fill", "#e4e8ec", "#272d36"),
           "mark": ("stroke", "#1f2328", "#e6edf3"), "bound": ("stroke", "#1f2328", "#e6edf3")}
FIXED = """svg { font: 13px system-ui, "Segoe UI", Helvetica, Arial, "DejaVu Sans", sans-serif; }
.head { font-weight: 600; } .end { text-anchor: end; } .middle { text-anchor: middle; }
.one { stroke-dasharray: 3 3; } .mark { stroke-width: 2; } .bound { stroke-width: 1.5; }
"""


def style():
    """Rules for a light page, and for a dark one where the reader's setting asks for it."""
    def rules(which):
        text = f"text {{ fill: {('#1f2328', '#e6edf3')[which]}; }}\n"
        text += "".join(f".{name} {{ {colour[0]}: {colour[1 + which]}; }}\n"
                        for name, colour in COLOURS.items())
        return text + f".bound {{ fill: {COLOURS['paper'][1 + which]}; }}\n"
    return f"{FIXED}{rules(0)}@media (prefers-color-scheme: dark) {{\n{rules(1)}}}\n"


WIDTH, LABEL, RIGHT, ROW, BAR = 940, 372, 176, 26, 14


def number(value):
    return f"{value:.1f}".removesuffix(".0")


class Drawing:
    def __init__(self, title):
        self.parts, self.title = [], title

    def text(self, x, y, text, kind=""):
        self.parts.append(f'<text x="{number(x)}" y="{number(y)}" class="{kind}">{escape(text)}</text>')

    def rect(self, x, y, width, height, kind):
        self.parts.append(f'<rect x="{number(x)}" y="{number(y)}" width="{number(width)}" '
                          f'height="{number(height)}" rx="2" class="{kind}"/>')

    def line(self, x1, y1, x2, y2, kind):
        self.parts.append(f'<line x1="{number(x1)}" y1="{number(y1)}" x2="{number(x2)}" '
                          f'y2="{number(y2)}" class="{kind}"/>')

    def circle(self, x, y, radius, kind):
        self.parts.append(f'<circle cx="{number(x)}" cy="{number(y)}" r="{radius}" class="{kind}"/>')

    def write(self, path, height):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("\n".join([
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {number(height)}" '
            f'width="{WIDTH}" height="{number(height)}" role="img">',
            f"<title>{escape(self.title)}</title>", f"<style>{style()}</style>",
            '<rect width="100%" height="100%" class="paper"/>', *self.parts, "</svg>", ""]))
        return path


# --- ratios ----------------------------------------------------------------------------------

def kind_of(result):
    """How a bar is coloured: what is asked was reached, was not, or nothing is asked."""
    if result["target"] is None:
        return "none"
    share = result["share_target"] and result["share"] and result["share"] >= result["share_target"]
    return "good" if share or (result["lower_bound"] or 0) >= result["target"] else "bad"


def grid_step(top):
    """Distance of grid lines: about six of them, at round numbers."""
    step = 10 ** math.floor(math.log10(top / 6))
    return next(step * k for k in (1, 2, 5, 10) if top / (step * k) <= 7)


def label_of(result):
    rival = result["rival"].split(" ")[0]
    title = result["title"].removesuffix(f", {result['level']}")
    return title if rival in ("llama.cpp", "sluice") else f"{title}, {rival}"


def ratio_row(drawing, result, y, scale):
    middle, right = y + ROW / 2, LABEL + scale(result["ratio"])
    drawing.text(LABEL - 10, middle + 4, label_of(result), "end")
    drawing.rect(LABEL, middle - BAR / 2, scale(result["ratio"]), BAR, kind_of(result))
    if result["target"] is not None:
        x = LABEL + scale(result["target"])
        drawing.line(x, middle - BAR / 2 - 4, x, middle + BAR / 2 + 4, "mark")
    if result["lower_bound"] is not None:
        drawing.circle(LABEL + scale(result["lower_bound"]), middle, 4, "bound")
    share = f", {result['share']:.0%} of limit" if result["share"] else ""
    drawing.text(max(right, LABEL + scale(result["target"] or 0)) + 8, middle + 4,
                 f"{result['ratio']:.2f} x{share}")


def write_ratios(results, path):
    """Ratios to the rivals: a bar for the median, a ring for its lower bound, a stroke for what is
    asked. One group for each level, the highest first."""
    results = [one for one in results if one["ratio"] is not None]
    top = 1.05 * max([2.0, *(max(one["ratio"], one["target"] or 0) for one in results)])
    width = WIDTH - LABEL - RIGHT

    def scale(value):
        return value / top * width
    drawing, y = Drawing("Speed of Sluice as a multiple of the rival's"), 58
    drawing.text(20, 24, "Speed as a multiple of the rival's (llama.cpp where no other is named)", "head")
    drawing.text(20, 42, "bar: median of paired ratios; ring: its lower 95 % bound; stroke: what is asked; "
                 "grey bar: nothing is asked", "soft")
    groups = {}
    for one in results:
        groups.setdefault((one["row"].partition("@")[2], one["level"]), []).append(one)
    body = len(drawing.parts)
    for (mask, level), members in groups.items():
        drawing.text(20, y + 18, f"level {level}" + (" (both held down to it)" if mask else ""), "head")
        y += ROW
        for one in members:
            ratio_row(drawing, one, y, scale)
            y += ROW
        y += 8
    grid = Drawing("")
    for k in range(int(top / grid_step(top)) + 1):
        x = LABEL + scale(k * grid_step(top))
        grid.line(x, 54, x, y, "grid")
        grid.text(x, y + 16, f"{number(k * grid_step(top))} x", "soft middle")
    grid.line(LABEL + scale(1), 54, LABEL + scale(1), y, "one")
    drawing.parts[body:body] = grid.parts  # behind the bars
    return drawing.write(path, y + 28)


# --- kernels ---------------------------------------------------------------------------------

KERNEL_LABEL, CELL_TEXT, SLOW = 120, 72, 0.5


def kernel_cell(drawing, rate, x, y, width):
    middle, share = y + ROW / 2, min(rate["share"], 1.0)
    drawing.rect(x, middle - BAR / 2, width - CELL_TEXT, BAR, "track")
    drawing.rect(x, middle - BAR / 2, share * (width - CELL_TEXT), BAR, "bad" if share < SLOW else "good")
    drawing.text(x + width - CELL_TEXT + 6, middle + 4,
                 f"{rate['share']:.0%} {'m' if rate['limit'] == 'memory' else 'a'}", "soft")


def write_kernels(table, formats, path):
    """What part of the nearer limit each format's product reaches, by rows of activations."""
    drawing = Drawing("Products of every number format, part of the machine's limit")
    drawing.text(20, 24, f"Part of the limit that the product of each format reaches, level {table['level']}",
                 "head")
    drawing.text(20, 42, "m: reading memory is the nearer limit, a: arithmetic is; below half in the "
                 "other colour", "soft")
    counts = sorted({n for rates in formats.values() for n in rates})
    width = (WIDTH - KERNEL_LABEL - 20) / max(1, len(counts))
    for i, n in enumerate(counts):
        drawing.text(KERNEL_LABEL + i * width, 66, f"{n} row{'s' if n > 1 else ''}", "head")
    y = 74
    for name, rates in formats.items():
        drawing.text(KERNEL_LABEL - 14, y + ROW / 2 + 4, name, "end")
        for i, n in enumerate(counts):
            if n in rates:
                kernel_cell(drawing, rates[n], KERNEL_LABEL + i * width, y, width)
        y += ROW
    return drawing.write(path, y + 14)


# --- roofline --------------------------------------------------------------------------------

ROOF_HEIGHT, ROOF_LEFT, ROOF_TOP = 420, 70, 88
ROOF_KINDS = {"int8": "good", "f32": "none", "bf16": "none", "attention": "bad"}


class LogAxis:
    """Values of some decades -> a stretch of the drawing."""

    def __init__(self, values, begin, end):
        self.low, self.high = math.floor(math.log10(min(values))), math.ceil(math.log10(max(values)))
        self.begin, self.scale = begin, (end - begin) / max(1, self.high - self.low)

    def __call__(self, value):
        return self.begin + (math.log10(value) - self.low) * self.scale

    def decades(self):
        return [10.0 ** k for k in range(self.low, self.high + 1)]


def roof_points(operations):
    """(operations per byte, GOP/s, kind) of what `sluice bench --roofline` measured."""
    return [(one["gops"] / one["gbps"], one["gops"], "attention" if "attend" in one else one["as"])
            for one in operations if one["gbps"] > 0 and one["gops"] > 0]


def write_roofline(limits, operations, title, path):
    """Every product and attention beside the limits of the machine, on logarithmic axes: left of a
    roof's corner reading memory is the limit, right of it arithmetic."""
    points = roof_points(operations)
    roofs = {name: limits[key] for name, key in (("int8 with scales", "scaled_gops"), ("float32", "f32_gops"),
                                                 ("bfloat16", "bf16_gops")) if limits.get(key, 0) > 0}
    corners = [gops / limits["read_gbps"] for gops in roofs.values()]
    x = LogAxis([p[0] for p in points] + corners, ROOF_LEFT, WIDTH - 40)
    y = LogAxis([p[1] for p in points] + list(roofs.values()), ROOF_TOP + ROOF_HEIGHT, ROOF_TOP)
    drawing = Drawing(title)
    drawing.text(20, 24, title, "head")
    drawing.text(20, 44, f"level {limits['level']}, {limits['threads']} threads; GOP/s over operations for each "
                 "byte of weights, or of keys and values", "soft")
    for i, (name, kind) in enumerate((("products in int8", "good"), ("in float32 or bfloat16", "none"),
                                      ("attention", "bad"))):
        drawing.circle(34 + 190 * i, 60, 4, kind)
        drawing.text(44 + 190 * i, 64, name, "soft")
    for value in x.decades():
        drawing.line(x(value), ROOF_TOP, x(value), ROOF_TOP + ROOF_HEIGHT, "grid")
        drawing.text(x(value), ROOF_TOP + ROOF_HEIGHT + 18, f"{value:g}", "soft middle")
    for value in y.decades():
        drawing.line(ROOF_LEFT, y(value), WIDTH - 40, y(value), "grid")
        drawing.text(ROOF_LEFT - 8, y(value) + 4, f"{value:g}", "soft end")
    top = max(roofs.values(), default=y.decades()[-1])
    low = max(x.decades()[0], y.decades()[0] / limits["read_gbps"])
    drawing.line(x(low), y(low * limits["read_gbps"]), x(top / limits["read_gbps"]), y(top), "mark")
    drawing.text(x(low) + 24, y(low * limits["read_gbps"]) + 4, f"reading {limits['read_gbps']:.1f} GB/s", "soft")
    for name, gops in roofs.items():
        drawing.line(x(gops / limits["read_gbps"]), y(gops), WIDTH - 40, y(gops), "mark")
        drawing.text(WIDTH - 44, y(gops) - 6, f"{name} {gops:.0f} GOP/s", "soft end")
    for intensity, gops, kind in points:
        drawing.circle(x(intensity), y(gops), 4, ROOF_KINDS[kind])
    return drawing.write(path, ROOF_TOP + ROOF_HEIGHT + 34)


def main():
    import kernel_table
    import records
    records.write_page()
    kernel_table.write_page()
    return 0


if __name__ == "__main__":
    sys.dont_write_bytecode = True
    sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "tools" / "show.d"))
    sys.exit(main())
