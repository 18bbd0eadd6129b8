"""--help, wrong arguments, and what holds for every command."""

import os
import re
import subprocess

import pytest

from conftest import BINARY, misused, one_sentence, refused, sluice

COMMANDS = {
    "run": "MODEL", "serve": "MODEL", "inspect": "FILE", "tokenize": "MODEL",
    "detokenize": "MODEL", "render": "TEMPLATE", "logits": "--ids", "bench": "--prompt",
    "embed": "--pooling", "version": "--verbose", "plan": "--users", "top": "--interval",
}


def check_help(text):
    lines = text.splitlines()
    for line in lines:
        is_example = line.startswith("  sluice ") or "curl" in line or "echo" in line
        assert len(line) <= 80 or is_example, line
        assert line == line.rstrip()


@pytest.mark.parametrize("flag", ["--help", "-h", "help"])
def test_help_lists_commands(flag):
    r = sluice(flag, check=0)
    text = r.out.decode()
    assert not r.err
    check_help(text)
    for name in COMMANDS:
        assert f"\n  {name} " in text
    assert "Exit codes" in text and "SLUICE_CPU_MASK" in text


@pytest.mark.parametrize("name", COMMANDS)
def test_help_of_command(name):
    r = sluice(name, "--help", check=0)
    text = r.out.decode()
    assert not r.err
    check_help(text)
    assert text.startswith(f"Usage: sluice {name}")
    assert COMMANDS[name] in text
    assert "\nExamples:\n" in text and "-h, --help" in text
    assert sluice("help", name, check=0).out == r.out
    assert sluice(name, "-h", check=0).out == r.out
    # All explanations of flags begin in one column.
    flags = text.split("\nFlags:\n")[1].split("\n\n")[0].splitlines()
    starts = {re.match(r" +-.*?\S  +(?=\S)", line).end() for line in flags
              if line.lstrip().startswith("-") and "  " in line.strip()}
    assert len(starts) == 1, flags


def test_issue_forms_are_in_help():
    text = sluice("run", "--help").out.decode()
    for flag in ("-p,", "-n,", "--ids", "--temp", "--raw", "--exact", "--batch-invariant",
                 "--ignore-eos", "--kv-type", "--json", "--stop", "--seed", "--top-k", "--top-p",
                 "--min-p", "--threads", "--ctx", "--kv-memory"):
        assert flag in text
    text = sluice("bench", "--help").out.decode()
    for flag in ("--prompt", "--gen", "--batch", "--depth", "--threads", "--reps", "--json"):
        assert flag in text
    text = sluice("serve", "--help").out.decode()
    for flag in ("--host", "--port", "--threads", "--ctx", "--kv-memory", "--alias"):
        assert flag in text


def test_no_command():
    r = sluice()
    assert r.code == 2 and not r.out
    assert "a command is missing" in r.err and "tokenize" in r.err


def test_unknown_command():
    misused(sluice("frobnicate"), '"frobnicate"')
    misused(sluice("tokenise"), "did you mean tokenize?")
    misused(sluice("help", "tokenise"), "did you mean tokenize?")
    misused(sluice("--frob"), '"--frob"')
    misused(sluice(""), '""')


def test_version():
    out = sluice("--version", check=0).out.decode()
    assert out.startswith("sluice ") and out.count("\n") == 1
    assert sluice("version", check=0).out.decode() == out
    long = sluice("version", "--verbose", check=0).out.decode()
    assert long.startswith(out)
    for word in ("processor", "features", "cores", "memory", "topology", "level", "kernels",
                 "mul q4_0", "attend f16"):
        assert word in long
    simulated = {"HWLOC_SYNTHETIC": "node:2 core:3 pu:2"}
    two_nodes = sluice("version", "--verbose", env=simulated, check=0).out.decode()
    assert two_nodes.count(": 3 cores, 6 CPUs, ") == 2
    masked = sluice("version", "--verbose", env={"SLUICE_CPU_MASK": "ref"}, check=0).out.decode()
    assert "avx" not in masked.split("\nkernels\n")[1]


def test_wrong_cpu_mask():
    r = sluice("version", env={"SLUICE_CPU_MASK": "avx1024"})
    assert r.code == 2 and not r.out
    one_sentence(r.err, "SLUICE_CPU_MASK", "avx1024")
    sluice("--help", env={"SLUICE_CPU_MASK": "avx1024"}, check=0)


WRONG = [
    (["run"], "MODEL"),
    (["run", "m", "x", "-p", "a"], '"x"'),
    (["run", "m"], "-p TEXT"),
    (["run", "m", "-p"], "-p"),
    (["run", "m", "-p", "a", "--ids", "1"], "--ids"),
    (["run", "m", "-p", "a", "-f", "b"], "-f"),
    (["run", "m", "--ids", "1", "--system", "x"], "--system"),
    (["run", "m", "--raw", "-p", "a", "-s", "x"], "--system"),
    (["run", "m", "-p", "a", "--tmep", "0"], "did you mean --temp?"),
    (["run", "m", "-p", "a", "--jsn"], "did you mean --json?"),
    (["run", "m", "-p", "a", "--whatever"], '"--whatever"'),
    (["run", "m", "-p", "a", "-x"], '"-x"'),
    (["run", "m", "-p", "a", "-n", "0"], "-n takes a whole number from 1"),
    (["run", "m", "-p", "a", "-n", "-1"], "-n"),
    (["run", "m", "-p", "a", "-n", "99999999999999999999"], "-n"),
    (["run", "m", "-p", "a", "-n", "4294967296"], "-n"),
    (["run", "m", "-p", "a", "-n", "8x"], "-n"),
    (["run", "m", "-p", "a", "-n", "8.5"], "-n"),
    (["run", "m", "-p", "a", "-n", "0x8"], "-n"),
    (["run", "m", "-p", "a", "-n", " 8"], "-n"),
    (["run", "m", "-p", "a", "-n", ""], "-n"),
    (["run", "m", "-p", "a", "--temp", "nan"], "--temp"),
    (["run", "m", "-p", "a", "--temp", "inf"], "--temp"),
    (["run", "m", "-p", "a", "--temp", "0x1"], "--temp"),
    (["run", "m", "-p", "a", "--temp", "-0.5"], "--temp"),
    (["run", "m", "-p", "a", "--temp", "1e99"], "--temp"),
    (["run", "m", "-p", "a", "--temp=101"], "--temp"),
    (["run", "m", "-p", "a", "--top-p", "1.5"], "--top-p"),
    (["run", "m", "-p", "a", "--min-p", "-1"], "--min-p"),
    (["run", "m", "-p", "a", "--seed", "18446744073709551616"], "--seed"),
    (["run", "m", "-p", "a", "--seed", "-1"], "--seed"),
    (["run", "m", "-p", "a", "--kv-type", "f8"], "f16|f32"),
    (["run", "m", "-p", "a", "--kv-type"], "f16|f32"),
    (["serve", "m", "--kv-type", "int3"], "f16|f32|bf16|int8|int4"),
    (["eval", "m", "--text", "t", "--kv-type", "INT8"], "int8"),
    (["bench", "m", "--kv-type", "q8_0"], "int8"),
    (["logits", "m", "--ids", "1", "--out", "-", "--kv-type", ""], "int4"),
    (["run", "m", "-p", "a", "--kv-memory", "0"], "--kv-memory"),
    (["run", "m", "-p", "a", "--kv-memory", "-1M"], "--kv-memory"),
    (["run", "m", "-p", "a", "--kv-memory", "101%"], "--kv-memory"),
    (["run", "m", "-p", "a", "--kv-memory", "4X"], "--kv-memory"),
    (["run", "m", "-p", "a", "--kv-memory", "4Gb"], "--kv-memory"),
    (["run", "m", "-p", "a", "--kv-memory", "0x4G"], "--kv-memory"),
    (["run", "m", "-p", "a", "--kv-memory", "1e30G"], "--kv-memory"),
    (["run", "m", "-p", "a", "--threads", "0"], "--threads"),
    (["run", "m", "-p", "a", "-t", "1000000"], "-t"),
    (["run", "m", "-p", "a", "--ctx", "0"], "--ctx"),
    (["serve", "m", "--ctx", "1"], "--ctx"),  # one token of prompt and one of answer
    (["serve", "m", "--alias", ""], "--alias"),
    (["serve", "m", "--alias", "a" * 257], "--alias"),
    (["serve", "m", "--alias", "\udcff"], "--alias"),
    (["run", "m", "-p", "a", "--json=yes"], "--json takes no value"),
    (["run", "m", "-p", "a", "--no-temp"], '"--no-temp"'),
    (["run", "m", "-p", "a", "--stop", ""], "--stop"),
    (["run", "m", "-p", "a", "--stop", "x" * 1025], "--stop"),
    (["run", "m", "-p", "a"] + ["--stop", "x"] * 17, "--stop"),
    (["run", "m", "--ids", ""], "--ids"),
    (["run", "m", "--ids", "1,,2"], "--ids"),
    (["run", "m", "--ids", "1,2,"], "number 3"),
    (["run", "m", "--ids", "1;2"], "--ids"),
    (["run", "m", "--ids", "1,a"], "number 2"),
    (["run", "m", "--ids", "-1"], "--ids"),
    (["run", "m", "--ids", "2147483648"], "--ids"),
    (["run", "m", "--ids", "99999999999999999999999"], "--ids"),
    (["run", "m", "--ids", "[1,2"], "--ids"),
    (["run", "m", "--ids", "1,2]"], "--ids"),
    (["run", "m", "--ids", "[]"], "--ids"),
    (["run", "m", "--ids", "1.5"], "--ids"),
    (["logits", "m"], "--ids"),
    (["logits", "m", "--ids", "1"], "--out"),
    (["logits", "m", "--out", "x"], "--ids"),
    (["logits", "m", "--ids", "1", "--out", ""], "--out"),
    (["bench", "m", "--batch", "0"], "--batch"),
    (["bench", "m", "--batch", "1,65537"], "number 2"),
    (["bench", "m", "--depth", "-5"], "--depth"),
    (["bench", "m", "--reps", "0"], "--reps"),
    (["bench", "m", "--prompt", "0", "--gen", "0"], "--prompt and --gen"),
    (["bench", "m", "--roofline", "--calibrate"], "one of them"),
    (["tokenize"], "MODEL"),
    (["tokenize", "m", "--special"], '"--special"'),
    (["detokenize", "m", "n"], '"n"'),
    (["render", "m"], "FILE.json"),
    (["inspect"], "FILE"),
    (["inspect", "m", "--plann"], "did you mean --plan?"),
    (["version", "x"], '"x"'),
    (["serve"], "MODEL"),
    (["serve", "m", "--port", "65536"], "--port"),
    (["serve", "m", "--kv-memory", "lots"], "--kv-memory"),
]


@pytest.mark.parametrize("args, part", WRONG, ids=[" ".join(a)[:60] for a, _ in WRONG])
def test_wrong_arguments(args, part):
    misused(sluice(*args), f"sluice {args[0]}", part)


def test_arguments_cannot_steer_the_terminal():
    misused(sluice("run", "m", "-p", "a", "--\x1b[2J\n\x9b"), '"--?[2J?')
    misused(sluice("run", "m", "-p", "a", b"--\xff\xfe"), '"--??"')
    misused(sluice("\x1b]0;x\x07"), '"?]0;x?"')
    refused(sluice("inspect", "no\x1b[31msuch\nfile"), "no?[31msuch?file")
    misused(sluice("run", "m", "x" * 100000, "-p", "a"))


def test_flag_forms(tiny):
    base = sluice("run", tiny, "--raw", "-p", "ab", "-n", "4", "--json", check=0).out
    ids = base.split(b'"timings"')[0]
    for form in (["--prompt", "ab", "--n", "4"], ["--prompt=ab", "--n=4"],
                 ["--n", "9", "-n", "4", "-p", "x", "-p", "ab"], ["--no-exact", "-p", "ab", "-n", "4"],
                 ["--exact", "--no-exact", "-p", "ab", "-n", "4"]):
        r = sluice("run", "--raw", "--json", *form, "--", tiny, check=0)
        assert r.out.split(b'"timings"')[0] == ids


MISSING = [["run", "-p", "a"], ["embed", "-p", "a"], ["inspect"], ["tokenize"], ["detokenize"], ["bench"],
           ["logits", "--ids", "1", "--out", "x"], ["serve", "--port", "0"]]


@pytest.mark.parametrize("args", MISSING, ids=[a[0] for a in MISSING])
class TestFiles:
    def test_missing(self, args, tmp_path):
        path = tmp_path / "none.gguf"
        refused(sluice(args[0], path, *args[1:], cwd=tmp_path), f"sluice {args[0]}", path, "no such file")
        assert not list(tmp_path.iterdir())

    def test_directory(self, args, tmp_path):
        refused(sluice(args[0], tmp_path, *args[1:], cwd=tmp_path), tmp_path, "directory")

    def test_empty(self, args, tmp_path):
        path = tmp_path / "m.gguf"
        path.write_bytes(b"")
        refused(sluice(args[0], path, *args[1:], cwd=tmp_path), path, "empty")

    def test_text(self, args, tmp_path):
        path = tmp_path / "m.gguf"
        path.write_bytes(b"This is a text.\n" * 50)
        refused(sluice(args[0], path, *args[1:], cwd=tmp_path), path)

    def test_device(self, args, tmp_path):
        refused(sluice(args[0], "/dev/zero", *args[1:], cwd=tmp_path), "/dev/zero")

    def test_fifo(self, args, tmp_path):
        path = tmp_path / "fifo"
        os.mkfifo(path)
        refused(sluice(args[0], path, *args[1:], cwd=tmp_path), path)

    @pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
    def test_forbidden(self, args, tmp_path):
        path = tmp_path / "m.gguf"
        path.write_bytes(b"GGUF")
        path.chmod(0)
        refused(sluice(args[0], path, *args[1:], cwd=tmp_path), path, "ermission")


def outputs(tiny):
    return [["--help"], ["run", "--help"], ["version", "--verbose"], ["inspect", tiny],
            ["inspect", tiny, "--json"], ["inspect", tiny, "--plan"],
            ["run", tiny, "--raw", "-p", "a", "-n", "5"],
            ["run", tiny, "--raw", "-p", "a", "-n", "5", "--json"], ["tokenize", tiny],
            ["detokenize", tiny], ["bench", tiny, "--prompt", "8", "--gen", "2", "--reps", "1"],
            ["logits", tiny, "--ids", "1,2", "--out", "-"]]


@pytest.mark.parametrize("i", range(12))
def test_output_that_cannot_be_written(tiny, i):
    args = outputs(tiny)[i]
    text = b"[1, 2, 3]"
    with open("/dev/full", "wb") as full:
        r = sluice(*args, text=text, stdout=full)
        assert r.code == 1
        # The reason is gone where an earlier write than the last failed.
        one_sentence(r.err, "standard output", "" if "--plan" in args else "No space left")
    read, write = os.pipe()
    os.close(read)
    with open(write, "wb") as broken:
        r = sluice(*args, text=text, stdout=broken)
        assert r.code == 1
        one_sentence(r.err, "standard output", "" if "--plan" in args else "Broken pipe")
    command = " ".join(f"'{a}'" for a in [BINARY, *args])
    closed = subprocess.run(["sh", "-c", f"{command} >&-"], input=text, stderr=subprocess.PIPE)
    assert closed.returncode == 1
    one_sentence(closed.stderr.decode(), "standard output")


def test_closed_streams_do_not_meet_files(tiny, tmp_path):
    """Without stdin, stdout and stderr, the first file opened would get their numbers."""
    rows = tmp_path / "rows"
    command = f"'{BINARY}' logits '{tiny}' --ids 1,2 --out '{rows}' <&- >&- 2>&-"
    assert subprocess.run(["sh", "-c", command]).returncode == 0
    assert rows.stat().st_size == 2 * 300 * 4
    command = f"'{BINARY}' logits '{tiny}' --ids 1,999 --out '{rows}' <&- >&- 2>&-"
    assert subprocess.run(["sh", "-c", command]).returncode == 1
    assert rows.stat().st_size == 2 * 300 * 4, "a refused request must not touch the file"


def test_reader_that_leaves(smollm2):
    """`sluice run ... | head -c1`"""
    p = subprocess.Popen([BINARY, "run", smollm2, "-p", "Count to 1000.", "-n", "800", "--temp", "0"],
                         stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert len(p.stdout.read(1)) == 1
    p.stdout.close()
    assert p.wait(60) == 1
    one_sentence(p.stderr.read().decode(), "Broken pipe")


def test_tenant_weights(tiny):
    for text in ("a", "a=", "=3", "a=0", "a=1001", "a=3x", "a=-1", "b" * 129 + "=1", "a=99999999999999999999"):
        misused(sluice("serve", tiny, "--trust-tenant-header", "--tenant-weight", text),
                f"--tenant-weight {text}: it is NAME=N")
    misused(sluice("serve", tiny, "--tenant-weight", "a=3"), "--trust-tenant-header")
