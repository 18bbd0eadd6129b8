"""Packed weights that are kept for the next start: the flags, what is written where, and answers that
never depend on it."""

import resource
import stat

import pytest

from conftest import GOLDEN, misused, run_json, sluice

QUESTION = ("--ids", "1,2,3,4,5,6,7", "-n", "6", "--ignore-eos", "--threads", "2")


@pytest.fixture
def model():
    return GOLDEN / "quant" / "llama-quant.Q4_K_M.gguf"


@pytest.fixture
def plain(model):
    return run_json(model, *QUESTION, "--packed-cache", "off")["ids"]


def packs():
    return "mul q4_k" in sluice("version", "--verbose", check=0).out.decode()


def files_in(folder):
    return sorted(p.name for p in folder.rglob("*") if p.is_file()) if folder.exists() else []


def test_kept_and_found(model, plain, tmp_path):
    folder = tmp_path / "deep" / "folder"
    for _ in range(3):
        assert run_json(model, *QUESTION, "--packed-cache", folder)["ids"] == plain
        found = files_in(folder)
        assert len(found) <= 1 and all(name.endswith(".packed") for name in found)
    for path in folder.rglob("*.packed"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        before = path.stat().st_ino
        assert run_json(model, *QUESTION, "--packed-cache", folder)["ids"] == plain
        assert path.stat().st_ino == before, "written once"


@pytest.mark.parametrize("command", ["bench", "eval", "logits", "run"])
def test_every_command(model, command, tmp_path):
    text = tmp_path / "text"
    text.write_text("one two three four five six seven eight nine ten " * 20)
    more = {"bench": ("--prompt", "4", "--gen", "1", "--reps", "1"), "eval": ("--text", text, "--ctx", "32"),
            "logits": ("--ids", "1,2,3", "--no-exact", "-o", tmp_path / "logits"), "run": QUESTION}[command]
    env = {"XDG_CACHE_HOME": str(tmp_path / "cache"), "SLUICE_PACKED_CACHE": ""}
    done = [sluice(command, model, *more, env=env) for _ in range(2)]
    if any(d.code == 2 for d in done):
        pytest.fail(done[0].err)
    assert [d.code for d in done] == [0, 0], done[0].err
    assert len(files_in(tmp_path / "cache" / "sluice" / "packed")) == int(packs())


def test_environment(model, plain, tmp_path):
    folder = tmp_path / "named"
    assert run_json(model, *QUESTION, env={"SLUICE_PACKED_CACHE": str(folder)})["ids"] == plain
    assert len(files_in(folder)) == int(packs())
    home = {"HOME": str(tmp_path / "home"), "XDG_CACHE_HOME": "", "SLUICE_PACKED_CACHE": ""}
    assert run_json(model, *QUESTION, env=home)["ids"] == plain
    assert len(files_in(tmp_path / "home" / ".cache" / "sluice" / "packed")) == int(packs())
    nowhere = {"HOME": "", "XDG_CACHE_HOME": "not/absolute", "SLUICE_PACKED_CACHE": ""}
    assert run_json(model, *QUESTION, env=nowhere)["ids"] == plain
    off = {**home, "HOME": str(tmp_path / "other"), "SLUICE_PACKED_CACHE": "off"}
    assert run_json(model, *QUESTION, env=off)["ids"] == plain
    assert not (tmp_path / "other").exists()


def test_size(model, plain, tmp_path):
    def ask(*flags):
        r = sluice("run", model, *QUESTION, "--quiet", "--packed-cache", tmp_path, *flags, check=0)
        return r.err
    if not packs():
        pytest.skip("this level packs nothing")
    err = ask("--packed-cache-size", "10K")
    assert err.count("\n") == 1 and "are not kept" in err and not files_in(tmp_path)
    assert ask("--packed-cache-size", "100%") == "" and len(files_in(tmp_path)) == 1
    misused(sluice("run", model, *QUESTION, "--packed-cache-size", "many"), "--packed-cache-size")


def test_exact_keeps_nothing(model, tmp_path):
    run_json(model, *QUESTION, "--exact", "--packed-cache", tmp_path)
    assert not files_in(tmp_path)


def test_unwritable(model, plain, tmp_path):
    """A warning, once, and the answer."""
    (tmp_path / "file").write_bytes(b"")
    for folder in (tmp_path / "file", tmp_path / "file" / "below", "/proc/none"):
        r = sluice("run", model, *QUESTION, "--json", "--packed-cache", folder, check=0)
        assert r.err.count("are not kept") == int(packs()) and "\n" not in r.err.strip()


def test_full_disk(model, tmp_path):
    """A limit on the size of files stands for it: nothing half is left."""
    def limit():
        resource.setrlimit(resource.RLIMIT_FSIZE, (100000, 100000))
    r = sluice("run", model, *QUESTION, "--json", "--packed-cache", tmp_path, check=0, preexec_fn=limit)
    assert r.err.count("are not kept") == int(packs()) and not files_in(tmp_path)


def test_damaged(model, plain, tmp_path):
    run_json(model, *QUESTION, "--packed-cache", tmp_path)
    for path in tmp_path.glob("*.packed"):
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 4
        path.write_bytes(data)
        r = sluice("run", model, *QUESTION, "--temp", "0", "--json", "--packed-cache", tmp_path, check=0)
        assert "were damaged" in r.err and r.err.count("\n") == 1
        assert run_json(model, *QUESTION, "--packed-cache", tmp_path)["ids"] == plain
        path.write_bytes(path.read_bytes()[:-1])
        assert run_json(model, *QUESTION, "--packed-cache", tmp_path)["ids"] == plain
        path.chmod(0o666)
        assert run_json(model, *QUESTION, "--packed-cache", tmp_path)["ids"] == plain
        assert stat.S_IMODE(path.stat().st_mode) == 0o600, "replaced"


def test_levels_do_not_mix(model, tmp_path):
    """Levels share a file only if they pack alike: an answer is that of its own level."""
    for level in ("ref", "avx2", "avx512"):
        env = {"SLUICE_CPU_MASK": level}
        off = run_json(model, *QUESTION, "--packed-cache", "off", env=env)["ids"]
        for _ in range(2):
            assert run_json(model, *QUESTION, "--packed-cache", tmp_path, env=env)["ids"] == off
