#!/usr/bin/env python3
"""Writes the seed inputs of fuzz_gguf into tests/fuzz/corpus/gguf: small files of every kind of field."""
import pathlib
import struct

U8, I8, U16, I16, U32, I32, F32, BOOL, STRING, ARRAY, U64, I64, F64 = range(13)
PACK = {U8: "B", I8: "b", U16: "H", I16: "h", U32: "I", I32: "i", F32: "f", BOOL: "B", U64: "Q", I64: "q", F64: "d"}
OUT = pathlib.Path(__file__).resolve().parent / "corpus" / "gguf"


def text(value):
    data = value if isinstance(value, bytes) else value.encode()
    return struct.pack("<Q", len(data)) + data


def value(kind, v):
    if kind == STRING:
        return text(v)
    if kind == ARRAY:
        elem, items = v
        return struct.pack("<IQ", elem, len(items)) + b"".join(value(elem, x) for x in items)
    return struct.pack("<" + PACK[kind], v)


def gguf(keys=(), tensors=(), align=32, version=3, n_kv=None, n_tensors=None):
    out = b"GGUF" + struct.pack("<IQQ", version, len(tensors) if n_tensors is None else n_tensors,
                                len(keys) if n_kv is None else n_kv)
    for key, kind, v in keys:
        out += text(key) + struct.pack("<I", kind) + value(kind, v)
    data = b""
    for i, (name, dims, kind, size) in enumerate(tensors):
        out += text(name) + struct.pack("<I", len(dims)) + b"".join(struct.pack("<Q", d) for d in dims)
        out += struct.pack("<IQ", kind, len(data))
        data += bytes((i + k) & 255 for k in range(size))
        data += bytes(-len(data) % align)
    if tensors:
        out += bytes(-len(out) % align) + data
    return out


SCALARS = [("a.u8", U8, 200), ("a.i8", I8, -1), ("a.u16", U16, 65535), ("a.i16", I16, -2), ("a.u32", U32, 1 << 31),
           ("a.i32", I32, -3), ("a.f32", F32, 1e-5), ("a.bool", BOOL, 1), ("a.string", STRING, "x\u00e9"),
           ("a.u64", U64, 1 << 63), ("a.i64", I64, -4), ("a.f64", F64, 0.1)]
ARRAYS = [("b.strings", ARRAY, (STRING, ["<s>", "", b"\xff\x00"])), ("b.floats", ARRAY, (F32, [0.0, -1.5])),
          ("b.ints", ARRAY, (I32, [1, -1])), ("b.bools", ARRAY, (BOOL, [0, 1])), ("b.none", ARRAY, (U8, [])),
          ("b.nested", ARRAY, (ARRAY, [(U16, [1, 2]), (STRING, ["x"]), (ARRAY, [(U8, [])])]))]
LLAMA = [("general.architecture", STRING, "llama"), ("general.alignment", U32, 64), ("llama.block_count", U32, 1),
         ("tokenizer.ggml.tokens", ARRAY, (STRING, ["<unk>", "<s>", "</s>", "a"])),
         ("tokenizer.ggml.token_type", ARRAY, (I32, [2, 3, 3, 1]))]
TENSORS = [("token_embd.weight", [8, 4], 0, 128), ("blk.0.attn_q.weight", [32, 2], 2, 36), ("n", [3], 1, 6),
           ("e", [256, 1, 1, 2], 14, 420)]

FILES = {
    "empty_v3": gguf(), "empty_v2": gguf(version=2), "scalars": gguf(SCALARS), "arrays": gguf(ARRAYS),
    "tensors": gguf(SCALARS[:2], TENSORS), "llama_align64": gguf(LLAMA, TENSORS, align=64),
    "version1": gguf(version=1), "big_endian": b"GGUF" + struct.pack(">IQQ", 3, 0, 0),
    "split": gguf([("split.no", U16, 0), ("split.count", U16, 2), ("split.tensors.count", I32, 4)], TENSORS),
    "twice": gguf([SCALARS[0], SCALARS[0]]), "count_max": gguf(SCALARS, n_kv=(1 << 64) - 1),
    "cut": gguf(LLAMA, TENSORS, align=64)[:-200],
    "deep": gguf()[:16] + struct.pack("<Q", 1) + text("d") + struct.pack("<I", ARRAY)
    + struct.pack("<IQ", ARRAY, 1) * 70 + struct.pack("<IQ", U8, 0),
}

OUT.mkdir(parents=True, exist_ok=True)
for name, data in FILES.items():
    assert len(data) < 4096, name
    (OUT / name).write_bytes(data)
