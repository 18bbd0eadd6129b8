"""tools/show: what it leaves behind (nothing), and what it writes into docs/STATUS.md."""

import importlib.machinery
import importlib.util
import pathlib
import signal
import subprocess
import sys
import time

import pytest

from conftest import ROOT, WAIT_S


def load_show():
    loader = importlib.machinery.SourceFileLoader("show", str(ROOT / "tools" / "show"))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader("show", loader))
    loader.exec_module(module)
    return module


# Both children wait in short naps: a signal that comes just before a nap is handled after it.

# A child that left our session, as servers do, with a child of its own.
STARTS = """
import subprocess, sys, time
sys.path.insert(0, sys.argv[1])
import showlib
showlib.end_children_with_us()
child = subprocess.Popen(["sh", "-c", "sleep 300 & echo $! $$; wait"], start_new_session=True,
                         stdout=subprocess.PIPE, text=True)
print(child.stdout.readline(), end="", flush=True)
while True:
    time.sleep(0.05)
"""


def is_alive(pid):
    try:
        return pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_children_end_with_it(number):
    process = subprocess.Popen([sys.executable, "-c", STARTS, str(ROOT / "tools" / "show.d")],
                               stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    pids = [int(word) for word in process.stdout.readline().split()]
    assert len(pids) == 2 and all(map(is_alive, pids))
    process.send_signal(number)
    assert process.wait(WAIT_S) != 0
    process.stdout.close()
    deadline = time.monotonic() + WAIT_S
    while any(map(is_alive, pids)):
        assert time.monotonic() < deadline, "a child outlived it"
        time.sleep(0.02)


# Items that are still being handed in: an executor left to itself would run all of them first.
WAITS = """
import subprocess, sys, time
sys.path.insert(0, sys.argv[1])
import showlib
showlib.end_children_with_us()
def items():
    for i in range(10000):
        if i == 1000:
            print("begun", flush=True)
            while True:
                time.sleep(0.05)
        yield i
showlib.parallel(lambda i: showlib.check(["sleep", "0.2"]), items())
"""


def test_signal_does_not_wait_for_items_handed_in():
    with subprocess.Popen([sys.executable, "-c", WAITS, str(ROOT / "tools" / "show.d")],
                          stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        assert process.stdout.readline() == "begun\n"
        process.send_signal(signal.SIGTERM)
        assert process.wait(WAIT_S) == 128 + signal.SIGTERM


def test_lines_are_selected_by_name_or_word():
    show = load_show()
    lines = [show.showlib.Line(name, "", None, None) for name in ("a", "ab", "abc@x", "d@x")]

    def names(*words):
        return [line.name for line in show.selected(lines, words)]
    assert names() == ["a", "ab", "abc@x", "d@x"]
    assert names("ab") == ["ab"] and names("@x") == ["abc@x", "d@x"] and names("bc", "a") == ["a", "abc@x"]


@pytest.mark.parametrize("passed, word", [(True, "pass"), (False, "fail"), (None, "shown")])
def test_verdict_of_a_line(passed, word, capsys):
    show = load_show()
    line = show.showlib.Line("a", "title", lambda: ("a | b", passed), None)
    assert show.run(line) == ("a / b", word)
    assert capsys.readouterr().out == f"title | a / b | {word}\n"


PAGE = """# Status

Text above.

## one

By hand.

| line | figure | result | measured |
| --- | --- | --- | --- |
| a | 1 | pass | then |
| by hand | 2 | pass |

More text.

## two

| line | figure |
| --- | --- |
| a | of two |
"""


def test_record_changes_only_its_rows():
    show = load_show()
    page = show.recorded(PAGE, "one", [("a", "3 \\1", "fail", "now"), ("b", "4", "pass", "now")])
    assert page == PAGE.replace("| a | 1 | pass | then |", "| a | 3 \\1 | fail | now |").replace(
        "| by hand | 2 | pass |", "| by hand | 2 | pass |\n| b | 4 | pass | now |")
    assert show.recorded(page, "one", [("b", "4", "pass", "now")]) == page
    longer = show.recorded(PAGE, "three", [("c", "5", "pass", "now"), ("d", "6", "pass", "now")])
    assert longer == PAGE + "\n## three\n\n" + "\n".join(show.TABLE) + \
        "\n| c | 5 | pass | now |\n| d | 6 | pass | now |\n"
    assert show.recorded("# Status\n\n## one\n\nText.\n\n## two\n", "one", [("a", "1", "pass", "x")]) == \
        "# Status\n\n## one\n\nText.\n\n" + "\n".join(show.TABLE) + "\n| a | 1 | pass | x |\n\n## two\n"
