"""What the tests of the command line share: the program, small models, and how a run is judged.

SLUICE_BINARY names the program (default: build/sluice); make_tiny_model is looked for beside it.
SLUICE_MODEL_DIR, where it holds a SmolLM2 GGUF file, adds the tests that want a real model."""

import json
import os
import pathlib
import subprocess
import types

import gguf_edit
import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
BINARY = pathlib.Path(os.environ.get("SLUICE_BINARY", ROOT / "build" / "sluice")).resolve()
GOLDEN = ROOT / "tests" / "golden"
NO_LIMITS = os.environ.get("SLUICE_NO_LIMITS", "") not in ("", "0")  # built with sanitizers
os.environ.setdefault("SLUICE_PACKED_CACHE", "off")  # nothing is written into the user's cache
WAIT_S = 60  # for events that must come; nothing here depends on how fast they do


def sluice(*args, text=b"", env=None, check=None, **more):
    """Runs the program to its end with `text` on standard input (or stdin=, stdout= a file). With
    check, the exit code must be that one."""
    if "stdin" not in more:
        more["input"] = text.encode() if isinstance(text, str) else text
    more.setdefault("stdout", subprocess.PIPE)
    done = subprocess.run([BINARY, *map(as_argument, args)],
                          stderr=subprocess.PIPE, timeout=WAIT_S,
                          env={**os.environ, **(env or {})}, **more)
    result = types.SimpleNamespace(code=done.returncode, out=done.stdout,
                                   err=done.stderr.decode("utf-8", "strict"))
    if check is not None:
        assert result.code == check, f"exit code {result.code}, stderr: {result.err}"
    return result


def as_argument(x):
    return x if isinstance(x, (str, bytes, os.PathLike)) else str(x)


def run_json(model, *args, **more):
    """The object that `run --json` prints."""
    r = sluice("run", model, *args, "--temp", "0", "--json", check=0, **more)
    assert r.out.endswith(b"\n") and r.out.count(b"\n") == 1
    return json.loads(r.out)


def one_sentence(text, *parts):
    """An error as users see it: one line from the program, nothing that steers a terminal."""
    assert text.endswith("\n") and text.count("\n") == 1, text
    assert text.startswith("sluice"), text
    assert all(ord(c) >= 0x20 and not 0x7F <= ord(c) < 0xA0 for c in text[:-1]), repr(text)
    assert len(text) < 1200, text
    for part in parts:
        assert str(part) in text, f"{part!r} is not in {text!r}"


def refused(r, *parts):
    """Exit code 1, one sentence, nothing on standard output."""
    assert r.code == 1, f"exit code {r.code}, stderr: {r.err}"
    assert not r.out
    one_sentence(r.err, *parts)


def misused(r, *parts):
    """Exit code 2, one sentence with a hint, nothing on standard output."""
    assert r.code == 2, f"exit code {r.code}, stderr: {r.err}"
    assert not r.out
    one_sentence(r.err, "--help", *parts)


@pytest.fixture(scope="session")
def tiny(tmp_path_factory):
    """A random model with a ChatML template; its greedy decoding does not end by itself."""
    path = tmp_path_factory.mktemp("model") / "tiny.gguf"
    maker = BINARY.parent / "tests" / "make_tiny_model"
    subprocess.run([str(maker), str(path), "1", "16384"], check=True)
    return path


@pytest.fixture(scope="session")
def goldens():
    """(model file, reference answers) of the small models whose logits are known."""
    quant = GOLDEN / "quant"
    yarn = GOLDEN / "arch" / "llama-rope-yarn"
    return [(quant / f"llama-quant.{t}.gguf", json.loads((quant / f"llama-quant.{t}.golden.json")
                                                         .read_text())) for t in ("Q4_1", "Q4_K_M")
            ] + [(yarn / "llama-rope-yarn.f16.gguf", json.loads((yarn / "golden.json").read_text()))]


@pytest.fixture(scope="session")
def quant_model(goldens):
    return goldens[0][0]


def split_model(source, folder):
    """The model of a GGUF file in two parts, whose paths are returned; the second holds no tensor."""
    model = gguf_edit.File(source.read_bytes())
    rest = model.copy()
    rest.kv, rest.tensors, rest.payload = {}, [], b""
    paths = []
    for no, part in enumerate((model, rest)):
        part.kv |= {b"split.no": gguf_edit.Value(gguf_edit.U16, no),
                    b"split.count": gguf_edit.Value(gguf_edit.U16, 2),
                    b"split.tensors.count": gguf_edit.Value(gguf_edit.I32, len(model.tensors))}
        paths.append(folder / f"model-{no + 1:05}-of-00002.gguf")
        paths[-1].write_bytes(part.bytes())
    return paths


@pytest.fixture(scope="session")
def smollm2():
    folder = os.environ.get("SLUICE_MODEL_DIR")
    found = sorted(pathlib.Path(folder).glob("SmolLM2-135M-Instruct*.gguf")) if folder else []
    if not found:
        pytest.skip("SLUICE_MODEL_DIR holds no SmolLM2 model")
    return found[0]
