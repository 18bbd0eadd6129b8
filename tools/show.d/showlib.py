"""What the lines of tools/show share: where things are, the program, a server, an HTTP client,
reference data. Standard library only."""

import array
import base64
import collections
import concurrent.futures
import contextlib
import http.client
import json
import math
import os
import pathlib
import re
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
SHARED = pathlib.Path(os.environ.get("SLUICE_SHARED") or ROOT.parent / "shared")
GOLDEN = SHARED / "golden"
os.environ.setdefault("SLUICE_PACKED_CACHE", "off")  # nothing is written into the user's cache
SLUICE = pathlib.Path(os.environ.get("SLUICE_BINARY") or ROOT / "build" / "sluice")

GREEDY_GAP = 0.01        # golden models: tokens before the first smaller gap must agree
FIRST_TOKEN_LIMIT = 1e-2  # real models, --exact: top-20 log-probabilities against reference_f32
FIRST_TOKEN_GAP = 0.02    # and greedy tokens before the first smaller gap
DEFAULT_RATIO = 1.1       # default mode against llama.cpp's own error
FUZZ_SECONDS = 600

# minutes: that a line takes, about; None for less than one
Line = collections.namedtuple("Line", "name title function minutes")
LINES = []
# What tools/show was told. again: measure, although a record stands; record: keep what is measured;
# recorded: show what is recorded and measure nothing.
ASKED = {"again": False, "record": False, "recorded": False}


class NotHere(Exception):
    """This machine lacks what the line needs."""


def line(name, title, minutes=None):
    """Registers a function that returns (figure, passed) as a line; passed is None where nothing is
    asked of the figure."""
    def register(function):
        LINES.append(Line(name, title, function, minutes))
        return function
    return register


def say(text):
    print(f"  {text}", file=sys.stderr, flush=True)


def need(path):
    if not pathlib.Path(path).exists():
        raise NotHere(f"needs {os.path.relpath(path, ROOT)}")
    return pathlib.Path(path)


# --- machine ---------------------------------------------------------------------------------

def cpu_info(key):
    try:
        for text in pathlib.Path("/proc/cpuinfo").read_text().splitlines():
            if text.startswith(key):
                return text.split(":", 1)[1].strip()
    except OSError:
        pass
    return ""


def cpu_model():
    """The processor's name, with the numbers that tell those of one name apart."""
    name = cpu_info("model name") or "an unknown processor"
    numbers = [cpu_info(key) for key in ("cpu family", "model\t")]
    return f"{name} (family {numbers[0]}, model {numbers[1]})" if all(numbers) else name


def n_cpus():
    return len(os.sched_getaffinity(0))


def git(*arguments, root=ROOT):
    """The finished process; where there is no git, one that failed."""
    command = ["git", "-C", str(root), *arguments]
    try:
        return subprocess.run(command, capture_output=True, text=True)
    except FileNotFoundError:
        return subprocess.CompletedProcess(command, 127, "", "there is no git")


def commit():
    def said(*arguments):
        done = git(*arguments)
        return done.stdout.strip() if done.returncode == 0 else ""
    return (said("rev-parse", "--short=12", "HEAD") or "no commit") + \
        (" and local changes" if said("status", "--porcelain", "--untracked-files=no") else "")


def isa_levels():
    """The levels that this machine has, lowest first, as SLUICE_CPU_MASK names them."""
    flags = set(cpu_info("flags").split())
    levels = ["ref"]
    if {"avx2", "fma", "f16c", "bmi2"} <= flags:
        levels.append("avx2")
        if "avx_vnni" in flags:
            levels.append("avxvnni")
        if {"avx512f", "avx512bw", "avx512dq", "avx512vl", "avx512cd"} <= flags:
            levels.append("avx512")
            if "avx512_vnni" in flags:
                levels.append("avx512vnni")
                if "avx512_bf16" in flags:
                    levels.append("avx512bf16")
                    if {"amx_tile", "amx_int8", "amx_bf16"} <= flags:
                        levels.append("amx")
    return levels


# --- running things --------------------------------------------------------------------------

MARK = "SLUICE_SHOW"  # in the environment of all that we start, and of what these start


def marked_processes(mark):
    wanted = f"{MARK}={mark}".encode()
    for path in pathlib.Path("/proc").glob("[0-9]*/environ"):
        with contextlib.suppress(OSError):
            if wanted in path.read_bytes().split(b"\0"):
                yield int(path.parent.name)


def end_marked(mark, patience_s=20):
    deadline = time.monotonic() + patience_s
    number = signal.SIGTERM
    while pids := list(marked_processes(mark)):
        for pid in pids:
            with contextlib.suppress(OSError):
                os.kill(pid, number)
        time.sleep(0.2)
        # Once is enough for a server, which takes a second signal for impatience.
        number = signal.SIGKILL if time.monotonic() > deadline else 0


def end_children_with_us():
    """However this process ends, by SIGKILL too, so does all that it started: a guard of its own
    session waits for the end of a pipe that only we hold open."""
    mark = f"{os.getpid()}-{time.time_ns()}"
    held, ours = os.pipe()
    if os.fork() == 0:
        os.setsid()
        os.close(ours)
        nowhere = os.open(os.devnull, os.O_RDWR)
        for descriptor in range(3):
            os.dup2(nowhere, descriptor)
        os.read(held, 1)
        end_marked(mark)
        os._exit(0)
    os.close(held)
    os.environ[MARK] = mark
    for number in (signal.SIGTERM, signal.SIGHUP):  # temporary files go, too
        signal.signal(number, lambda n, frame: sys.exit(128 + n))


def check(command, timeout=600, stdin=b"", env=None):
    """Runs a command and returns its standard output; an exit code other than 0 is an error."""
    done = subprocess.run([str(part) for part in command], input=stdin, capture_output=True,
                          timeout=timeout, cwd=ROOT, env={**os.environ, **(env or {})})
    if done.returncode != 0:
        tail = done.stderr.decode(errors="replace").strip().splitlines()[-1:]
        raise RuntimeError(f"{pathlib.Path(str(command[0])).name} {command[1]} ended with "
                           f"{done.returncode}: {' '.join(tail)}")
    return done.stdout


def sluice(*arguments, stdin=b"", level=None, timeout=600):
    env = {"SLUICE_CPU_MASK": level} if level else None
    return check([SLUICE, *arguments], timeout=timeout, stdin=stdin, env=env)


def parallel(function, items):
    """[function(item), ...], on all processors. A signal or an error ends it with the items begun by
    then; leaving the executor to itself would wait for every item handed in."""
    with concurrent.futures.ThreadPoolExecutor(n_cpus()) as pool:
        try:
            return list(pool.map(function, items))
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def prepare():
    check(["tools/setup.sh", "test"], timeout=1800)
    check(["tools/build.sh", "release"], timeout=1800)


def fetched(part):
    """A directory of tools/fetch.py."""
    try:
        return pathlib.Path(check([sys.executable, "tools/fetch.py", part]).decode().strip())
    except RuntimeError as error:
        raise NotHere(f"{part} could not be fetched: {error}") from error


def smollm2():
    return fetched("model") / "SmolLM2-135M-Instruct.Q4_1.gguf"


def gemma():
    return fetched("gemma") / "gemma-3-270m-q4_k_m.gguf"


def rival_binaries(level=None):
    """Where llama.cpp's programs are, for this processor or a level of SLUICE_CPU_MASK; built if need
    be."""
    try:
        return pathlib.Path(check(["tools/build_llamacpp.sh", level or "native"],
                                  timeout=3600).decode().strip())
    except RuntimeError as error:
        raise NotHere(f"llama.cpp could not be built: {error}") from error


RIVAL_TRIES = 5  # of a llama.cpp that LLAMA_CPP_BIN names; our own build does not lose its results


def batched_bench(command, n_results):
    """The results of a run of llama-batched-bench --output-format jsonl. Its log is written by a thread
    that the end of the program does not wait for, so that the last results may be missing, in one
    run of ten: such a run is repeated. Nobody knows what it measured."""
    for _ in range(RIVAL_TRIES):
        text = check(command, timeout=7200).decode()
        results = [json.loads(row) for row in text.splitlines() if row.startswith("{")]
        if len(results) == n_results:
            return results
    raise RuntimeError(f"llama-batched-bench gave {len(results)} results in place of {n_results}")


def unit_test(name):
    """Builds and runs a test program; returns (figure, passed)."""
    check(["tools/build.sh", "release", name], timeout=1800)
    done = subprocess.run([next((ROOT / "build").rglob(name))], cwd=ROOT, capture_output=True,
                          text=True, timeout=900, env={**os.environ, "SLUICE_SHARED": str(SHARED)})
    text = done.stdout + done.stderr
    passed, skipped = (len(re.findall(rf"\[\s+{word} \]", text)) for word in ("OK", "SKIPPED"))
    figure = f"{name}: {passed} tests passed" + (f", {skipped} skipped" if skipped else "")
    return figure, done.returncode == 0 and passed > 0


def fuzz_record(targets):
    """Whether each target ran long enough by docs/fuzz-record.tsv; returns (figure, passed)."""
    targets, done = sorted(targets), {}
    for row in need(ROOT / "docs" / "fuzz-record.tsv").read_text().splitlines():
        fields = row.split("\t")
        if len(fields) >= 4 and fields[1].isdigit() and int(fields[1]) >= FUZZ_SECONDS:
            done[fields[0]] = fields[3]
    missing = [name for name in targets if name not in done]
    figure = ", ".join(f"{name} at {done[name]}" for name in targets if name in done)
    if missing:
        figure += f"; not yet: {' '.join(missing)} (make fuzz SECONDS=600)"
    return figure, bool(targets) and not missing


# --- numbers ---------------------------------------------------------------------------------

def floats(data):
    values = array.array("f")
    values.frombytes(data)
    if sys.byteorder == "big":
        values.byteswap()
    return values


def floats_b64(text):
    return floats(base64.b64decode(text))


def npy_rows(path):
    """Rows of a two-dimensional little-endian float32 .npy file."""
    data = path.read_bytes()
    size = int.from_bytes(data[8:10], "little") if data[6] == 1 else \
        int.from_bytes(data[8:12], "little")
    start = (10 if data[6] == 1 else 12) + size
    header = data[:start].decode("latin1")
    rows, columns = map(int, re.search(r"\((\d+), (\d+)\)", header).groups())
    if "<f4" not in header or "True" in header:
        raise ValueError(f"{path.name} is not float32 in C order")
    values = floats(data[start:])
    return [values[r * columns:(r + 1) * columns] for r in range(rows)]


def max_difference(a, b):
    """Largest |a - b|; NaN counts as infinite."""
    if len(a) != len(b):
        return math.inf
    worst = 0.0
    for x, y in zip(a, b):
        difference = abs(x - y)
        if not difference <= worst:
            worst = difference if difference == difference else math.inf
    return worst


def log_softmax(row):
    top = max(row)
    total = math.fsum(math.exp(x - top) for x in row)
    return [x - top - math.log(total) for x in row]


def logits(model, ids, *options, level=None, last=False):
    """Rows of `sluice logits`, each a float array."""
    with tempfile.NamedTemporaryFile(suffix=".f32") as out:
        more = ["--last"] if last else []
        sluice("logits", model, "--ids", ",".join(map(str, ids)), *more, *options, "--out", out.name,
               level=level)
        values = floats(pathlib.Path(out.name).read_bytes())
    rows = 1 if last else len(ids)
    width, rest = divmod(len(values), rows)
    if rest or not width:
        raise RuntimeError(f"logits wrote {len(values)} floats for {rows} rows")
    return [values[r * width:(r + 1) * width] for r in range(rows)]


def first_small_gap(gaps, limit):
    """How many greedy tokens must agree: those before the first gap below the limit."""
    return next((i for i, gap in enumerate(gaps) if gap < limit), len(gaps))


# --- golden cases ----------------------------------------------------------------------------

def golden_case_error(file, case, all_rows, level=None):
    """Largest difference of any logit that the reference knows, over every position."""
    rows = logits(file, case["prompt"], "--exact", level=level)
    worst = max_difference(rows[-1], floats_b64(case["last_logits_b64"]))
    if "top5_ids" in case:
        for row, ids, values in zip(rows, case["top5_ids"], case["top5_logits"], strict=True):
            worst = max(worst, max_difference([row[i] for i in ids], values))
    if case["id"] == "p17" and all_rows:
        for row, wanted in zip(rows, all_rows, strict=True):
            worst = max(worst, max_difference(row, wanted))
    return worst


def greedy_ids(file, ids, count, *options, level=None):
    answer = json.loads(sluice("run", file, "--ids", ",".join(map(str, ids)), "-n", count, "--temp",
                               0, "--ignore-eos", "--json", *options, level=level, timeout=1800))
    return answer["ids"]


def golden_greedy_wrong(file, case, level=None):
    wanted = case["greedy"]
    ids = greedy_ids(file, case["prompt"], len(wanted), "--exact", level=level)
    sure = first_small_gap(case["greedy_gap"], GREEDY_GAP)
    return ids[:sure] != wanted[:sure]


def real_golden(name):
    return json.loads(need(GOLDEN / "real" / name).read_text())


def top20_difference(ours, reference):
    """Over the ids of the reference's top 20 that `ours` (id -> log-prob) knows."""
    return max(abs(ours[i] - value) for i, value in reference["first_top20"] if i in ours)


def first_token_exact(model, golden):
    """(figure, passed) of a real model's --exact mode against its float32 reference."""
    worst, wrong, cases = 0.0, [], real_golden(golden)["cases"]
    for case in cases:
        reference = case["reference_f32"]
        row = log_softmax(logits(model, case["prompt_ids"], "--exact", last=True)[0])
        worst = max(worst, top20_difference(dict(enumerate(row)), reference))
        wanted = reference["tokens"]
        ids = greedy_ids(model, case["prompt_ids"], len(wanted), "--exact")
        sure = first_small_gap(reference["gap"], FIRST_TOKEN_GAP)
        if ids[:sure] != wanted[:sure]:
            wrong.append(case["id"])
    return (f"{len(cases)} prompts: largest difference {worst:.1e}, greedy differs in {len(wrong)}",
            worst <= FIRST_TOKEN_LIMIT and not wrong)


def first_token_default(model, golden):
    """(figure, passed) of a real model's default mode: its error against llama.cpp's."""
    ours, ours_all, theirs = [], [], []
    for case in real_golden(golden)["cases"]:
        reference, rival = case["reference_f32"], dict(case["llama_cpp_quantised"]["first_top20"])
        row = log_softmax(logits(model, case["prompt_ids"], "--no-exact", last=True)[0])
        best = sorted(range(len(row)), key=lambda i: -row[i])[:20]
        ours.append(top20_difference({i: row[i] for i in best}, reference))
        ours_all.append(top20_difference(dict(enumerate(row)), reference))
        theirs.append(top20_difference(rival, reference))
    mean = [sum(values) / len(values) for values in (ours, ours_all, theirs)]
    # llama.cpp's figure knows only the ids of its own top 20; ours is taken the same way. The one
    # over all of the reference's ids is the stricter, and is held to the same limit.
    return (f"ours {mean[0]:.3f} (all ids {mean[1]:.3f}), llama.cpp {mean[2]:.3f}: "
            f"{max(mean[:2]) / mean[2]:.2f} x", max(mean[:2]) <= DEFAULT_RATIO * mean[2])


def tokenize(file, text, *options):
    return json.loads(sluice("tokenize", file, *options, stdin=text))


Tokenized = collections.namedtuple("Tokenized", "name text options wrong lost")


def json_lines(command, file, options, values):
    """What `sluice COMMAND --jsonl` makes of each value."""
    text = "".join(json.dumps(value) + "\n" for value in values).encode()
    results = [json.loads(row) for row in
               sluice(command, file, "--jsonl", *options, stdin=text).splitlines()]
    if len(results) != len(values):
        raise RuntimeError(f"{command} --jsonl gave {len(results)} lines for {len(values)}")
    return results


def tokenizer_group(group):
    """Verdicts of the cases of one file and one set of options, in one run of the program; of one by
    one where that fails, which this version may do for a tokenizer that it does not know."""
    (file, options), cases = group
    try:
        got = json_lines("tokenize", file, options, [text.decode() for text, _, _ in cases])
        right = [i for i, (_, ids, back) in enumerate(cases) if back and got[i] == ids]
        texts = json_lines("detokenize", file, [], [got[i] for i in right])
        # In JSON U+FFFD stands for bytes that are no character, too.
        lost = {i for i, text in zip(right, texts) if text.encode() != cases[i][0]
                or "\ufffd" in text and not comes_back(file, got[i], cases[i][0])}
    except RuntimeError:
        if len(cases) > 1:
            return [one for case in cases for one in tokenizer_group(((file, options), [case]))]
        got, lost = [None], set()
    return [Tokenized(file.name, text, options, got[i] != ids, i in lost)
            for i, (text, ids, _) in enumerate(cases)]


def comes_back(file, ids, text):
    return sluice("detokenize", file, stdin=json.dumps(ids).encode()) == text


def tokenizer_verdict(cases):
    """cases: (file, text, options, ids, must come back); returns (figure, passed)."""
    groups = {}
    for file, text, options, ids, back in cases:
        groups.setdefault((file, tuple(options)), []).append((text, ids, back))
    results = [one for group in parallel(tokenizer_group, groups.items()) for one in group]
    wrong, lost = [one for one in results if one.wrong], [one for one in results if one.lost]
    for one in (wrong + lost)[:5]:
        say(f"differs: {one.name} {one.text} {' '.join(one.options)}")
    figure = f"{len(results)} cases, {len(wrong)} wrong, {len(lost)} do not come back"
    if wrong or lost:
        figure += f" ({some(sorted({one.name for one in wrong + lost}))})"
    return figure, bool(results) and not wrong and not lost


def some(names, most=8):
    """The first names of a list, for a figure."""
    names = list(names)
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


# --- servers and clients ---------------------------------------------------------------------

def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def get(port, path, timeout=30):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read().decode(errors="replace")
    finally:
        connection.close()


def post(port, path, body, timeout=600, headers=None):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout)
    try:
        connection.request("POST", path, json.dumps(body), {"Content-Type": "application/json", **(headers or {})})
        answer = connection.getresponse()
        data = answer.read()
        if answer.status != 200:
            raise RuntimeError(f"{path} answered {answer.status}: {data[:200]!r}")
        return json.loads(data)
    finally:
        connection.close()


def post_stream(port, path, body, timeout=600):
    """Yields the events of a streamed answer."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout)
    try:
        connection.request("POST", path, json.dumps({**body, "stream": True}),
                           {"Content-Type": "application/json"})
        answer = connection.getresponse()
        if answer.status != 200:
            raise RuntimeError(f"{path} answered {answer.status}: {answer.read()[:200]!r}")
        for text in answer:
            if text.startswith(b"data: ") and text.strip() != b"data: [DONE]":
                yield json.loads(text[6:])
    finally:
        connection.close()


@contextlib.contextmanager
def server(command, port, health="/health", env=None, ready_s=120):
    """Runs a server until the block ends; yields its process once it answers."""
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen([str(part) for part in command], stdin=subprocess.DEVNULL,
                                   stdout=log, stderr=log, cwd=ROOT,
                                   env={**os.environ, **(env or {})}, start_new_session=True)
        try:
            deadline = time.monotonic() + ready_s
            while True:
                with contextlib.suppress(OSError, http.client.HTTPException):
                    if get(port, health, timeout=5)[0] == 200:
                        break
                if process.poll() is not None or time.monotonic() > deadline:
                    log.seek(0)
                    tail = log.read().decode(errors="replace").strip()[-300:]
                    raise RuntimeError(f"the server did not become ready: {tail}")
                time.sleep(0.05)
            yield process
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGTERM)
                try:
                    process.wait(30)
                except subprocess.TimeoutExpired:
                    os.killpg(process.pid, signal.SIGKILL)
                    process.wait()


@contextlib.contextmanager
def sluice_server(*options, model=None):
    port = free_port()
    with server([SLUICE, "serve", model or smollm2(), "--host", "127.0.0.1", "--port", port,
                 *options], port) as process:
        yield port, process


def at_once(count, function):
    """function(i) for i < count, each in its own thread; returns the results or raises the first
    error."""
    results, errors = [None] * count, []

    def work(i):
        try:
            results[i] = function(i)
        except Exception as error:
            errors.append(error)
    # Daemons: a signal must not wait for the answers of a server.
    threads = [threading.Thread(target=work, args=(i,), daemon=True) for i in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]
    return results


def resident_bytes(pid):
    text = pathlib.Path(f"/proc/{pid}/status").read_text()
    return int(re.search(r"VmRSS:\s+(\d+) kB", text).group(1)) * 1024


def metric(port, pattern):
    """Sum of the samples whose name matches, from /metrics; None when there is none."""
    values = [float(text.rsplit(" ", 1)[1]) for text in get(port, "/metrics")[1].splitlines()
              if not text.startswith("#") and re.match(pattern, text)]
    return sum(values) if values else None
