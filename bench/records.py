"""What was measured, kept: bench/results/DATE-CPU.json, the tables of docs/performance.md made from it,
and whether a recorded row still stands. Standard library only."""

import json
import pathlib
import re

import rows
import showlib

BENCH = pathlib.Path(__file__).resolve().parent
ROOT = BENCH.parent
# What a row measures: it stands until one of these changes.
MEASURED = ("src/kernels", "src/device", "src/engine", "src/quant", "src/base", "src/measure",
            # no row runs these
            ":(exclude)src/measure/roofline*", ":(exclude)src/measure/calibrat*",
            ":(exclude)src/measure/traffic*", ":(exclude)src/*/README.md")


def git(*arguments):
    return showlib.git(*arguments, root=ROOT)


def measured_commit():
    """HEAD; None where the measured code differs from it, or there is no history."""
    head = git("rev-parse", "--short=12", "HEAD")
    changes = git("status", "--porcelain", "--", *MEASURED)
    is_clean = head.returncode == 0 and changes.returncode == 0 and not changes.stdout
    return head.stdout.strip() if is_clean else None


def changed_since(commit):
    """Whether the measured code, as it lies here, differs from that of a commit: "no", "yes", or
    "unknown" where the history does not reach back to it."""
    code = git("diff", "--quiet", commit, "--", *MEASURED).returncode
    return {0: "no", 1: "yes"}.get(code, "unknown")


# --- files -----------------------------------------------------------------------------------

def slug(cpu):
    return re.sub(r"[^a-z0-9]+", "-", cpu.lower()).strip("-")


def row_names():
    """Every row's name on any machine, in order: what is no longer a row is shown no more."""
    return list(dict.fromkeys(work.name for last in range(2, len(rows.LEVELS) + 1)
                              for work in rows.rows(rows.LEVELS[:last])))


def in_order(results):
    names = row_names()
    return sorted((one for one in results if one["row"] in names),
                  key=lambda one: names.index(one["row"]))


def merged(results, new):
    """The results with a new one, in place of one of the same row and model."""
    key = new["row"], new["model"]
    return in_order([*(one for one in results if (one["row"], one["model"]) != key), new])


def latest(cpu=None):
    """The newest result of each row and model, of one kind of processor or of each."""
    newest = {}
    for path in sorted((BENCH / "results").glob("[0-9]*.json")):
        for one in json.loads(path.read_text()):
            if cpu in (None, one["cpu"]):
                key = one["cpu"], one["row"], one["model"]
                if key not in newest or newest[key]["date"] <= one["date"]:
                    newest[key] = one
    return in_order(newest.values())


def standing(work, model_name, threads):
    """The newest record of a row here, with `changed` of the code; None where there is none."""
    for one in latest(showlib.cpu_model()):
        if (one["row"], one["model"], one["threads"]) == (work.name, model_name, threads):
            return {**one, "changed": changed_since(one["commit"])}
    return None


def why_not(result):
    """Why a result may not be recorded; None if it may."""
    if result["busy"]:
        return "other processes were running"
    if result["pairs"] < result["pairs_wanted"]:
        return f"{result['pairs']} of {result['pairs_wanted']} pairs count"
    if result["commit"] is None:
        return "the measured code has changes that are not committed"
    return None


def keep(result):
    """Writes a result and the page; returns whether it did."""
    if why := why_not(result):
        showlib.say(f"{result['row']} is not recorded: {why}")
        return False
    path = BENCH / "results" / f"{result['date'][:10]}-{slug(result['cpu'])}.json"
    results = merged(json.loads(path.read_text()) if path.exists() else [], result)
    path.write_text(json.dumps(results, indent=1) + "\n")
    write_page()
    return True


# --- words -----------------------------------------------------------------------------------

def number(value, form):
    return "-" if value is None else format(value, form)


def settings_text(settings):
    def word(value):
        return {True: "on", False: "off"}.get(value, value) if isinstance(value, bool) else value
    return ", ".join(f"{name} {word(value)}" for name, value in (settings or {}).items()) or "-"


def figure(result):
    """One line of text."""
    text = (f"{number(result['ratio'], '.2f')} x, lower bound {number(result['lower_bound'], '.2f')} "
            f"({number(result['ours'], ',.0f')} / {number(result['theirs'], ',.0f')} tokens/s, "
            f"{result['pairs']} pairs")
    if result["discarded"]:
        text += f", {result['discarded']} discarded"
    text += f", level {result['level']}"
    if result["busy"]:
        text += ", other processes were running"
    return text + ")"


HEAD = ["| work | model | against | ratio | lower 95 % bound | asked | ours, tokens/s | theirs "
        "| their settings | pairs | level | commit, date |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |"]


def table_row(result):
    return "| " + " | ".join([
        result["title"], result["model"].removesuffix(".gguf"), result["rival"].split(" ")[0],
        number(result["ratio"], ".2f"), number(result["lower_bound"], ".2f"), result["goal"],
        number(result["ours"], ",.0f") +
        (f" ({result['share']:.0%} of the limit)" if result.get("share") else ""),
        number(result["theirs"], ",.0f"), settings_text(result["rival_settings"]),
        str(result["pairs"]), result["level"], f"{result['commit']}, {result['date'][:10]}"]) + " |"


def page_with(page, key, lines):
    """The page with a block of lines; a block of the same key is replaced."""
    begin, end = f"<!-- {key} -->", f"<!-- end of {key} -->"
    block = "\n".join([begin, *lines, end])
    if begin in page:
        before, rest = page.split(begin, 1)
        return before + block + rest.split(end, 1)[1]
    return page.rstrip("\n") + "\n\n" + block + "\n"


def write_page():
    """The tables and plots of docs/performance.md, one of each for a kind of processor."""
    import plot  # draws what is here
    path = ROOT / "docs" / "performance.md"
    page, results = path.read_text(), latest()
    for cpu in sorted({one["cpu"] for one in results}):
        of_cpu = [one for one in results if one["cpu"] == cpu]
        image = plot.write_ratios(of_cpu, ROOT / "docs" / "plots" / f"ratios-{slug(cpu)}.svg")
        title = f"{of_cpu[0]['cpus']} x {cpu}"
        page = page_with(page, f"results of {slug(cpu)}", [
            f"### {title}", "", f"![Ratios with their bounds, {title}](plots/{image.name})", "",
            *HEAD, *map(table_row, of_cpu)])
    path.write_text(page)
