"""Wrong model files made of right ones: each breaks one rule that a model file has to keep.

cases(bases) yields (name, function that returns the file's bytes), always the same ones in the same
order. Every case must be refused. flips(bases) yields files with a few wrong bytes, which may or may
not be usable."""

import random
import struct

from gguf_edit import ARRAY, BOOL, F32, I32, STRING, U8, U16, U32, U64, Raw, Value

HUGE = (1 << 64) - 1


# --- the container ---------------------------------------------------------------------------------

def cut(data, part):
    return lambda: data[:part]


def with_bytes(data, at, new):
    return lambda: data[:at] + new + data[at + len(new):]


def container_cases(f, data):
    header = len(f.header())
    yield "empty", lambda: b""
    yield "one-byte", cut(data, 1)
    for n in (3, 4, 7, 8, 15, 16, 23, 24):
        yield f"cut-at-{n}", cut(data, n)
    for i in range(1, 12):
        yield f"cut-header-{i}-of-12", cut(data, 24 + (header - 24) * i // 12)
    for i in range(0, 8):
        yield f"cut-data-{i}-of-8", cut(data, header + (len(data) - header) * i // 8)
    yield "cut-last-bytes", cut(data, len(data) - 64)
    yield "magic", with_bytes(data, 0, b"GGUX")
    yield "magic-ggml", with_bytes(data, 0, b"lmgg")
    yield "text", lambda: b"This is no model.\n" * 100
    yield "zeros", lambda: bytes(4096)
    yield "elf", lambda: b"\x7fELF" + data[4:]
    yield "zip", lambda: b"PK\x03\x04" + data[4:]
    for v in (0, 1, 4, 99, 0x03000000, 0xFFFFFFFF):
        yield f"version-{v:x}", with_bytes(data, 4, struct.pack("<I", v))
    for n in (len(f.tensors) + 1, 1 << 16, 1 << 31, 1 << 32, 1 << 63, HUGE):
        yield f"n-tensors-{n:x}", with_bytes(data, 8, struct.pack("<Q", n))
    for n in (len(f.kv) - 1, len(f.kv) + 1, 1 << 16, 1 << 31, 1 << 40, 1 << 63, HUGE):
        yield f"n-kv-{n:x}", with_bytes(data, 16, struct.pack("<Q", n))
    for n in (1 << 20, 1 << 31, 1 << 32, 1 << 63, HUGE, HUGE - 7):
        yield f"first-key-length-{n:x}", with_bytes(data, 24, struct.pack("<Q", n))


def edited(f, change):
    def make():
        g = f.copy()
        change(g)
        return g.bytes()
    return make


def set_kv(key, value):
    return lambda g: g.kv.__setitem__(key, value)


def entry_cases(f):
    for kind in (13, 14, 255, 0x7FFFFFFF, 0xFFFFFFFF):
        yield f"kv-type-{kind:x}", edited(f, set_kv(b"x", Value(kind, Raw(b"\0" * 16))))
        yield f"array-type-{kind:x}", edited(
            f, set_kv(b"x", Value(ARRAY, Raw(struct.pack("<IQ", kind, 2) + b"\0" * 16))))
    for n in (1 << 31, 1 << 40, 1 << 60, 1 << 63, HUGE):
        yield f"string-length-{n:x}", edited(
            f, set_kv(b"x", Value(STRING, Raw(struct.pack("<Q", n)))))
        for kind in (U8, U32, U64, STRING, BOOL):
            yield f"array-{kind}-length-{n:x}", edited(
                f, set_kv(b"x", Value(ARRAY, Raw(struct.pack("<IQ", kind, n)))))

    def nest(depth):
        return Raw(struct.pack("<IQ", ARRAY, 1) * depth + struct.pack("<IQ", U8, 1) + b"\0")
    for depth in (100, 10000):
        yield f"nested-arrays-{depth}", edited(f, set_kv(b"x", Value(ARRAY, nest(depth))))
    yield "no-metadata", edited(f, lambda g: g.kv.clear())
    yield "no-tensors", edited(f, lambda g: g.tensors.clear())
    for value in (0, 3, 24, 1 << 31, 0xFFFFFFFF):
        yield f"alignment-{value}", edited(f, set_kv(b"general.alignment", Value(U32, value)))
    yield "alignment-text", edited(f, set_kv(b"general.alignment", Value(STRING, b"32")))

    def twice(g):
        out = bytearray()
        key = b"general.architecture"
        for _ in range(2):
            out += struct.pack("<Q", len(key)) + key + struct.pack("<I", STRING)
            out += struct.pack("<Q", 5) + b"llama"
        del g.kv[key]
        g.n_kv = len(g.kv) + 2
        g.extra = bytes(out)
    yield "key-twice", edited(f, twice)


# --- tensors ---------------------------------------------------------------------------------------

def tensor_edit(f, which, **changes):
    def change(g):
        t = g.tensor(which)
        for key, value in changes.items():
            setattr(t, key, value)
    return edited(f, change)


def tensor_cases(f):
    for t in f.tensors:
        if t.name == b"output.weight":
            continue  # may be absent
        name = t.name.decode()
        yield f"{name}-missing", edited(
            f, lambda g, n=t.name: g.tensors.remove(g.tensor(n)))
        yield f"{name}-renamed", tensor_edit(f, t.name, name=t.name + b"x")
    for t in f.tensors[:4] + f.tensors[-2:]:
        name = t.name.decode()
        for kind in (4, 5, 31, 99, 0x7FFFFFFF, 0xFFFFFFFF):
            yield f"{name}-type-{kind:x}", tensor_edit(f, t.name, kind=kind)
        for n in (0, 5, 8, 1 << 31, 0xFFFFFFFF):
            yield f"{name}-n-dims-{n:x}", tensor_edit(f, t.name, n_dims=n)
        rest = t.dims[1:]
        for d in (0, 1, t.dims[0] - 1, t.dims[0] * 2, 1 << 31, 1 << 32, 1 << 62, 1 << 63, HUGE):
            yield f"{name}-dim0-{d:x}", tensor_edit(f, t.name, dims=[d] + rest)
        if rest:
            for d in (0, 1, t.dims[1] - 1, t.dims[1] + 1, 1 << 32, 1 << 58, HUGE):
                yield f"{name}-dim1-{d:x}", tensor_edit(f, t.name, dims=[t.dims[0], d])
            yield f"{name}-dims-overflow", tensor_edit(f, t.name, dims=[1 << 32, 1 << 32])
            yield f"{name}-transposed-3d", tensor_edit(f, t.name, dims=t.dims + [2], n_dims=3)
        for offset in (t.offset + 1, t.offset + 7, len(f.payload) - f.align, len(f.payload),
                       1 << 40, 1 << 63, HUGE, HUGE - f.align + 1):
            if offset % f.align != 0 or offset + 64 >= len(f.payload):
                yield f"{name}-offset-{offset:x}", tensor_edit(f, t.name, offset=offset)
    first, second = f.tensors[0].name, f.tensors[1].name
    yield "tensor-twice", edited(f, lambda g: g.tensors.append(g.tensors[0]))
    yield "tensor-names-equal", tensor_edit(f, second, name=first)
    yield "tensor-name-empty", tensor_edit(f, first, name=b"")
    for n in (1 << 20, 1 << 63, HUGE):
        yield f"tensor-name-length-{n:x}", tensor_edit(f, first, name=Raw(struct.pack("<Q", n)))


# --- hyper-parameters ------------------------------------------------------------------------------

def hyper_cases(f):
    arch = f.kv[b"general.architecture"].value

    def key(name):
        return arch + b"." + name.encode()
    yield "architecture-missing", edited(f, lambda g: g.kv.pop(b"general.architecture"))
    yield "architecture-number", edited(f, set_kv(b"general.architecture", Value(U32, 1)))
    for name in (b"", b"no-such-model", b"llama\0", b"LLAMA", b"x" * 100000, b"\x1b[2J\xff"):
        yield f"architecture-{name[:12]!r}", edited(
            f, set_kv(b"general.architecture", Value(STRING, name)))
    needed = ["block_count", "embedding_length", "feed_forward_length", "attention.head_count",
              "context_length", "attention.layer_norm_rms_epsilon"]
    for name in needed:
        yield f"{name}-missing", edited(f, lambda g, k=key(name): g.kv.pop(k))
        yield f"{name}-text", edited(f, set_kv(key(name), Value(STRING, b"12")))
        yield f"{name}-array-empty", edited(f, set_kv(key(name), Value(ARRAY, [], U32)))
        yield f"{name}-array-text", edited(f, set_kv(key(name), Value(ARRAY, [b"1"], STRING)))
    for name in needed[:-1]:
        now = f.kv[key(name)].value
        wrong = [0, 1 << 31, 0xFFFFFFFF]
        if name not in ("context_length",):
            wrong += [now + 1, now * 2, 1 << 20]
        for v in wrong:
            yield f"{name}-{v:x}", edited(f, set_kv(key(name), Value(U32, v)))
        yield f"{name}-minus-1", edited(f, set_kv(key(name), Value(I32, -1)))
        yield f"{name}-u64", edited(f, set_kv(key(name), Value(U64, HUGE)))
        yield f"{name}-float", edited(f, set_kv(key(name), Value(F32, 1.5)))
    n_head = f.kv[key("attention.head_count")].value
    for v in (0, n_head + 1, n_head * 2, 3, 1 << 31, 0xFFFFFFFF):
        yield f"head_count_kv-{v:x}", edited(f, set_kv(key("attention.head_count_kv"), Value(U32, v)))
    for v in (float("nan"), float("inf"), -1.0):
        yield f"epsilon-{v}", edited(
            f, set_kv(key("attention.layer_norm_rms_epsilon"), Value(F32, v)))
        yield f"freq_base-{v}", edited(f, set_kv(key("rope.freq_base"), Value(F32, v)))
    yield "freq_base-0", edited(f, set_kv(key("rope.freq_base"), Value(F32, 0.0)))
    for v in (1, 3, 1 << 20, 0xFFFFFFFF):
        yield f"rope-dims-{v:x}", edited(f, set_kv(key("rope.dimension_count"), Value(U32, v)))
    for name in ("key_length", "value_length"):
        for v in (0, 1, 3, 1 << 20, 0xFFFFFFFF):
            yield f"{name}-{v:x}", edited(f, set_kv(key(f"attention.{name}"), Value(U32, v)))
    yield "rope-scaling-unknown", edited(
        f, set_kv(key("rope.scaling.type"), Value(STRING, b"no-such-scaling")))
    yield "rope-scaling-number", edited(f, set_kv(key("rope.scaling.type"), Value(U32, 1)))
    for v in (0.0, -2.0, float("nan"), float("inf")):
        def scale(g, v=v):
            g.kv[key("rope.scaling.type")] = Value(STRING, b"linear")
            g.kv[key("rope.scaling.factor")] = Value(F32, v)
        yield f"rope-factor-{v}", edited(f, scale)
    for n in (2, 0xFFFF):
        def split(g, n=n):
            g.kv[b"split.no"] = Value(U16, 0)
            g.kv[b"split.count"] = Value(U16, n)
            g.kv[b"split.tensors.count"] = Value(I32, len(g.tensors))
        yield f"split-count-{n}", edited(f, split)


# --- vocabulary ------------------------------------------------------------------------------------

def vocabulary_cases(f):
    def key(name):
        return b"tokenizer.ggml." + name.encode()
    tokens = f.kv[key("tokens")].value
    for name in ("model", "tokens", "merges"):
        if key(name) in f.kv:
            yield f"{name}-missing", edited(f, lambda g, k=key(name): g.kv.pop(k))
            yield f"{name}-number", edited(f, set_kv(key(name), Value(U32, 1)))
    for name in (b"", b"no-such-kind", b"gpt2\0"):
        yield f"model-{name!r}", edited(f, set_kv(key("model"), Value(STRING, name)))
    yield "tokens-empty", edited(f, set_kv(key("tokens"), Value(ARRAY, [], STRING)))
    yield "tokens-numbers", edited(f, set_kv(key("tokens"), Value(ARRAY, [1] * len(tokens), U32)))
    yield "tokens-too-few", edited(f, set_kv(key("tokens"), Value(ARRAY, tokens[:-1], STRING)))
    yield "tokens-too-many", edited(
        f, set_kv(key("tokens"), Value(ARRAY, tokens + [b"one", b"two"], STRING)))
    yield "token-length", edited(f, set_kv(key("tokens"), Value(
        ARRAY, tokens[:5] + [Raw(struct.pack("<Q", 1 << 40))] + tokens[6:], STRING)))
    if key("merges") in f.kv:
        merges = f.kv[key("merges")].value
        for name, m in (("no-blank", b"ab"), ("empty", b""), ("half", b"a ")):
            yield f"merge-{name}", edited(
                f, set_kv(key("merges"), Value(ARRAY, [m] + merges[1:], STRING)))
        yield "merges-numbers", edited(f, set_kv(key("merges"), Value(ARRAY, [1, 2], U32)))
    kinds = f.kv[key("token_type")].value if key("token_type") in f.kv else [1] * len(tokens)
    yield "token_type-too-few", edited(f, set_kv(key("token_type"), Value(ARRAY, kinds[:3], I32)))
    yield "token_type-text", edited(
        f, set_kv(key("token_type"), Value(ARRAY, [b"x"] * len(kinds), STRING)))
    for name in ("bos_token_id", "eos_token_id"):
        for v in (len(tokens), 1 << 31):
            yield f"{name}-{v:x}", edited(f, set_kv(key(name), Value(U32, v)))
        yield f"{name}-text", edited(f, set_kv(key(name), Value(STRING, b"</s>")))
    yield "pre-unknown", edited(f, set_kv(key("pre"), Value(STRING, b"no-such-rule")))


def cases(bases):
    """(name, make) for every base: a list of (name, gguf_edit.File, bytes)."""
    for base, f, data in bases:
        for part, group in (("file", container_cases(f, data)), ("entry", entry_cases(f)),
                            ("tensor", tensor_cases(f)), ("hyper", hyper_cases(f)),
                            ("vocab", vocabulary_cases(f))):
            seen = {}
            for name, make in group:
                seen[name] = seen.get(name, 0) + 1
                again = f"-{seen[name]}" if seen[name] > 1 else ""
                yield f"{base}-{part}-{name}{again}", make


def flips(bases, n, seed=1):
    """(name, make) of n files with 1 to 4 wrong bytes before the tensors' data."""
    rng = random.Random(seed)
    for i in range(n):
        base, f, data = bases[i % len(bases)]
        spots = [(rng.randrange(len(f.header())), rng.choice((0, 1, 0x7F, 0x80, 0xFF, None)))
                 for _ in range(rng.randint(1, 4))]
        bits = rng.getrandbits(8)

        def make(data=data, spots=spots, bits=bits):
            out = bytearray(data)
            for at, value in spots:
                out[at] = out[at] ^ (bits or 1) if value is None else value
            return bytes(out)
        yield f"{base}-flip-{i}", make
