#!/usr/bin/env python3
"""Makes GGUF models of real shapes with random weights, for measuring speed without a download.

    bench/make_model.py NAME...     makes the models that are not there yet, prints their paths
    bench/make_model.py --list      the names: SHAPE-TYPE

What a pass costs depends on shapes and block types, not on what the weights say, so these stand for
the real files of the same shape: block formats as a quantiser chooses them (embedding and output
Q6_K where the rest has 4 bits), weights of variance 1 / inputs, norms of 1, and the vocabulary of
a real tokenizer. Equal arguments give equal bytes. Files go to the cache of tools/fetch.py, written
beside their place and renamed into it: a file that is there is whole. Standard library only.

Weights are taken in turn from a pool of random blocks for each type; the number of its blocks is
prime and at least the number of rows, so that no two rows of a matrix are equal.
Formats: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md, src/quant/types.h.
"""

import argparse
import array
import collections
import math
import os
import pathlib
import random
import struct
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[1]
RECIPE = 1  # part of a file's name: raised when the bytes change
ALIGNMENT = 32
U32, I32, F32, STRING, ARRAY = 4, 5, 6, 8, 9
SCALARS = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}  # type -> bytes

# --- weights ---------------------------------------------------------------------------------

POOL_BLOCKS = 262139  # of a pool at most; prime
POOL_FLOATS = 1048573  # the same for types without blocks
SCALES = 4093          # prime; different block scales of a pool

# number in the file, weights and bytes of a block, offset of its float16 scale, deviation of a
# weight for a scale of 1 (the last two only where the weights have to be of a certain size)
Type = collections.namedtuple("Type", "number elems bytes scale_at deviation", defaults=(None, None))
TYPES = {
    "f32": Type(0, 1, 4),
    "bf16": Type(30, 1, 2),
    "q4_0": Type(2, 32, 18, 0, 4.64),    # scale x (0..15 - 8)
    "q8_0": Type(8, 32, 34, 0, 73.9),    # scale x int8
    "q4_k": Type(12, 256, 144, 0, 258),  # scale x 0..63 x 0..15 - 7.5 x scale x 0..63
    "q6_k": Type(14, 256, 210, 208, 1367),  # scale x int8 x (0..63 - 32)
    # Only in the model `formats`, whose numbers mean nothing.
    "f16": Type(1, 1, 2), "q4_1": Type(3, 32, 20), "q5_0": Type(6, 32, 22), "q5_1": Type(7, 32, 24),
    "q2_k": Type(10, 256, 84), "q3_k": Type(11, 256, 110), "q5_k": Type(13, 256, 176),
    "iq2_xxs": Type(16, 256, 66), "iq2_xs": Type(17, 256, 74), "iq3_xxs": Type(18, 256, 98),
    "iq1_s": Type(19, 256, 50), "iq4_nl": Type(20, 32, 18), "iq3_s": Type(21, 256, 110),
    "iq2_s": Type(22, 256, 82), "iq4_xs": Type(23, 256, 136), "iq1_m": Type(29, 256, 56),
    "tq1_0": Type(34, 256, 54), "tq2_0": Type(35, 256, 66), "mxfp4": Type(39, 32, 17),
    "nvfp4": Type(40, 64, 36), "q1_0": Type(41, 128, 18), "q2_0": Type(42, 64, 18),
}
FLOATS = ("f32", "bf16")  # those of them without blocks that hold weights of a certain size
FINITE = bytes(byte & 0x3f for byte in range(256))  # no half float of such bytes is over 2
Q4_K_MIN_RATIO = 7.5  # of the scale of minima to the scale: the mean of a weight becomes 0


def set_halves(pool, block_bytes, at, values):
    """Puts float16 values, in turn, at one place of every block."""
    n_blocks = len(pool) // block_bytes
    halves = struct.pack(f"<{len(values)}e", *values) * (n_blocks // len(values) + 1)
    for byte in range(2):
        pool[at + byte::block_bytes] = halves[byte:2 * n_blocks:2]


def next_prime(n):
    while any(n % k == 0 for k in range(2, math.isqrt(n) + 1)):
        n += 1
    return n


def make_pool(name, n_in, n_blocks, rng):
    """Random whole blocks of a type, for matrices of n_in inputs."""
    form, deviation = TYPES[name], 1 / math.sqrt(n_in)
    if form.scale_at is None and name not in FLOATS:
        return rng.randbytes(n_blocks * form.bytes).translate(FINITE)
    if form.scale_at is None:
        values = array.array("f", (rng.gauss(0, deviation) for _ in range(n_blocks)))
        if sys.byteorder == "big":
            values.byteswap()
        pool = values.tobytes()
        if name == "bf16":  # the upper halves of float32
            upper = bytearray(2 * n_blocks)
            upper[0::2], upper[1::2] = pool[2::4], pool[3::4]
            pool = bytes(upper)
        return pool
    pool = bytearray(rng.randbytes(n_blocks * form.bytes))
    scales = [rng.uniform(0.5, 1.5) * rng.choice((-1, 1)) * deviation / form.deviation
              for _ in range(SCALES)]
    set_halves(pool, form.bytes, form.scale_at, scales)
    if name == "q4_k":
        set_halves(pool, form.bytes, 2, [Q4_K_MIN_RATIO * scale for scale in scales])
    return bytes(pool)


class Weights:
    """Bytes of tensors. A norm is all ones, every other tensor comes from the pool of its type."""

    def __init__(self, seed, tensors):
        self.rng, self.pools, self.n_blocks = random.Random(seed), {}, {}
        for tensor in tensors:
            key, n = (tensor.type, tensor.dims[0]), tensor_blocks(tensor)
            self.n_blocks[key] = max(self.n_blocks.get(key, 0), n)

    def write(self, file, tensor):
        if tensor.is_norm:
            file.write(struct.pack("<f", 1.0) * math.prod(tensor.dims))
            return
        key = tensor.type, tensor.dims[0]
        if key not in self.pools:
            most = POOL_FLOATS if TYPES[tensor.type].elems == 1 else POOL_BLOCKS
            n_blocks = min(next_prime(self.n_blocks[key]), most)
            self.pools[key] = make_pool(*key, n_blocks, self.rng)
        pool, block = self.pools[key], TYPES[tensor.type].bytes
        at = self.rng.randrange(len(pool) // block) * block
        left = tensor_bytes(tensor)
        while left > 0:
            n = min(left, len(pool) - at)
            file.write(memoryview(pool)[at:at + n])
            at, left = 0, left - n


# --- shapes ----------------------------------------------------------------------------------

# vocab: N of ggml-vocab-N.gguf, or None for the 256 bytes alone; n_expert: 0 for a dense model
Shape = collections.namedtuple(
    "Shape", "arch vocab n_layer n_embd n_head n_kv_head d_head n_ff n_ctx rope_base eps "
    "n_expert n_used qk_norm")
SHAPES = {
    "llama-3.2-1b": Shape("llama", "llama-bpe", 16, 2048, 32, 8, 64, 8192, 131072, 5e5, 1e-5,
                          0, 0, False),
    "qwen3-4b": Shape("qwen3", "qwen2", 36, 2560, 32, 8, 128, 9728, 40960, 1e6, 1e-6, 0, 0, True),
    "moe-0.3b": Shape("qwen3moe", "starcoder", 10, 1024, 16, 4, 64, 512, 32768, 1e6, 1e-6,
                      16, 4, True),
    "tiny": Shape("llama", None, 2, 256, 4, 2, 64, 512, 1024, 1e4, 1e-5, 0, 0, False),
    "tiny-moe": Shape("qwen3moe", None, 2, 256, 4, 2, 64, 256, 1024, 1e4, 1e-6, 8, 2, True),
}
MATRIX_TYPES = ("q4_0", "q4_k", "q8_0", "bf16")
# One square matrix shape in every type, a layer for each: for bench/kernel_table.py.
ALL_TYPES = "formats-all"
FORMATS = Shape("llama", None, len(TYPES), 1536, 24, 24, 64, 1536, 1024, 1e4, 1e-5, 0, 0, False)
NAMES = [*(f"{shape}-{kind}" for shape in SHAPES for kind in MATRIX_TYPES), ALL_TYPES]

Tensor = collections.namedtuple("Tensor", "name dims type is_norm")


def shape_of(name):
    return FORMATS if name == ALL_TYPES else SHAPES[name.rsplit("-", 1)[0]]


def tensor_blocks(tensor):
    return math.prod(tensor.dims) // TYPES[tensor.type].elems


def tensor_bytes(tensor):
    return tensor_blocks(tensor) * TYPES[tensor.type].bytes


def tensors_of(shape, kind, n_vocab):
    """kind: the type of all matrices, or "all": each layer has the next one."""
    tensors, kinds = [], list(TYPES) if kind == "all" else [kind]

    def add(name, *dims, form=None, is_norm=False):
        layer = int(name.split(".")[1]) if name.startswith("blk.") else 0
        tensors.append(Tensor(name + ".weight", dims, form or kinds[layer % len(kinds)], is_norm))

    def add_norm(name, n):
        add(name, n, form="f32", is_norm=True)
    n_embd, n_ff, d_head = shape.n_embd, shape.n_ff, shape.d_head
    add("token_embd", n_embd, n_vocab, form="q6_k" if kind in ("q4_0", "q4_k") else None)
    for layer in range(shape.n_layer):
        at = f"blk.{layer}."
        add_norm(at + "attn_norm", n_embd)
        add(at + "attn_q", n_embd, shape.n_head * d_head)
        add(at + "attn_k", n_embd, shape.n_kv_head * d_head)
        add(at + "attn_v", n_embd, shape.n_kv_head * d_head)
        add(at + "attn_output", shape.n_head * d_head, n_embd)
        if shape.qk_norm:
            add_norm(at + "attn_q_norm", d_head)
            add_norm(at + "attn_k_norm", d_head)
        add_norm(at + "ffn_norm", n_embd)
        if shape.n_expert:
            add(at + "ffn_gate_inp", n_embd, shape.n_expert, form="f32")
            add(at + "ffn_gate_exps", n_embd, n_ff, shape.n_expert)
            add(at + "ffn_up_exps", n_embd, n_ff, shape.n_expert)
            add(at + "ffn_down_exps", n_ff, n_embd, shape.n_expert)
        else:
            add(at + "ffn_gate", n_embd, n_ff)
            add(at + "ffn_up", n_embd, n_ff)
            add(at + "ffn_down", n_ff, n_embd)
    add_norm("output_norm", n_embd)
    return tensors


# --- the file --------------------------------------------------------------------------------

def packed_string(text):
    data = text.encode()
    return struct.pack("<Q", len(data)) + data


def entry(key, kind, value):
    """One metadata entry; an array is (element type, values)."""
    out = packed_string(key) + struct.pack("<I", kind)
    if kind == STRING:
        return out + packed_string(value)
    if kind == ARRAY:
        elem, values = value
        out += struct.pack("<IQ", elem, len(values))
        if elem == STRING:
            return out + b"".join(map(packed_string, values))
        return out + struct.pack(f"<{len(values)}{'i' if elem == I32 else 'f'}", *values)
    return out + struct.pack("<f" if kind == F32 else "<I", value)


def byte_vocabulary():
    """(entries, number of tokens) of a byte-level BPE vocabulary: the bytes, one merge, one end."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    letters = sorted(map(chr, printable)) + [chr(256 + i) for i in range(len(others))]
    tokens = [*letters, "th", "<|end|>"]
    return [
        entry("tokenizer.ggml.model", STRING, "gpt2"),
        entry("tokenizer.ggml.pre", STRING, "gpt-2"),
        entry("tokenizer.ggml.tokens", ARRAY, (STRING, tokens)),
        entry("tokenizer.ggml.token_type", ARRAY, (I32, [1] * (len(tokens) - 1) + [3])),
        entry("tokenizer.ggml.merges", ARRAY, (STRING, ["t h"])),
        entry("tokenizer.ggml.bos_token_id", U32, len(tokens) - 1),
        entry("tokenizer.ggml.eos_token_id", U32, len(tokens) - 1),
    ], len(tokens)


def copied_vocabulary(path):
    """(entries, number of tokens) of another GGUF file: its tokenizer, as it is."""
    data, entries, n_tokens = path.read_bytes(), [], None
    at, n_entries = 24, struct.unpack_from("<Q", data, 16)[0]

    def skip(kind, at):
        return at + (8 + struct.unpack_from("<Q", data, at)[0] if kind == STRING else SCALARS[kind])
    for _ in range(n_entries):
        begin, after_key = at, skip(STRING, at)
        key = data[at + 8:after_key]
        kind, at = struct.unpack_from("<I", data, after_key)[0], after_key + 4
        if kind == ARRAY:
            elem, n = struct.unpack_from("<IQ", data, at)
            at += 12
            for _ in range(n):
                at = skip(elem, at)
            n_tokens = n if key == b"tokenizer.ggml.tokens" else n_tokens
        else:
            at = skip(kind, at)
        if key.startswith(b"tokenizer."):
            entries.append(data[begin:at])
    if n_tokens is None:
        raise ValueError(f"{path} holds no vocabulary")
    return entries, n_tokens


def metadata(shape, name, n_vocab):
    def key(text):
        return f"{shape.arch}.{text}"
    entries = [
        entry("general.architecture", STRING, shape.arch),
        entry("general.name", STRING, f"{name} with random weights"),
        entry(key("block_count"), U32, shape.n_layer),
        entry(key("context_length"), U32, shape.n_ctx),
        entry(key("embedding_length"), U32, shape.n_embd),
        entry(key("feed_forward_length"), U32, shape.n_ff),
        entry(key("attention.head_count"), U32, shape.n_head),
        entry(key("attention.head_count_kv"), U32, shape.n_kv_head),
        entry(key("attention.key_length"), U32, shape.d_head),
        entry(key("attention.value_length"), U32, shape.d_head),
        entry(key("attention.layer_norm_rms_epsilon"), F32, shape.eps),
        entry(key("rope.dimension_count"), U32, shape.d_head),
        entry(key("rope.freq_base"), F32, shape.rope_base),
        entry(key("vocab_size"), U32, n_vocab),
    ]
    if shape.n_expert:
        entries += [
            entry(key("expert_count"), U32, shape.n_expert),
            entry(key("expert_used_count"), U32, shape.n_used),
            entry(key("expert_feed_forward_length"), U32, shape.n_ff),
        ]
    return entries


def padding(n):
    return bytes(-n % ALIGNMENT)


def write_model(path, name, vocab_folder=None):
    shape, kind = shape_of(name), name.rsplit("-", 1)[1]
    vocab, n_vocab = byte_vocabulary() if shape.vocab is None else \
        copied_vocabulary(pathlib.Path(vocab_folder, f"ggml-vocab-{shape.vocab}.gguf"))
    entries = metadata(shape, name, n_vocab) + vocab
    tensors, offset = tensors_of(shape, kind, n_vocab), 0
    weights = Weights(name, tensors)
    header = [b"GGUF", struct.pack("<IQQ", 3, len(tensors), len(entries)), *entries]
    for tensor in tensors:
        header.append(packed_string(tensor.name) + struct.pack(
            f"<I{len(tensor.dims)}QIQ", len(tensor.dims), *tensor.dims,
            TYPES[tensor.type].number, offset))
        offset += tensor_bytes(tensor) + len(padding(tensor_bytes(tensor)))
    header = b"".join(header)
    with open(path, "wb") as file:
        file.write(header + padding(len(header)))
        for tensor in tensors:
            weights.write(file, tensor)
            file.write(padding(tensor_bytes(tensor)))


def fetched(*words):
    return pathlib.Path(subprocess.run([sys.executable, ROOT / "tools" / "fetch.py", *words],
                                       check=True, stdout=subprocess.PIPE,
                                       text=True).stdout.strip())


def cache_folder():
    base = os.environ.get("SLUICE_CACHE") or os.path.join(
        os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache"),
        "sluice")
    return pathlib.Path(base).resolve() / "models-random"


def file_name(name):
    return f"{name}.v{RECIPE}.gguf"


def model(name, folder=None):
    """Path of the model, made if it is not there."""
    if name not in NAMES:
        raise ValueError(f"there is no model {name}; --list shows the names")
    folder = folder or cache_folder()
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / file_name(name)
    if not path.exists():
        print(f"make_model: {path.name} (once)", file=sys.stderr, flush=True)
        part = path.with_name(f"{path.name}.part{os.getpid()}")
        try:
            needs_fetch = shape_of(name).vocab is not None
            write_model(part, name, fetched("vocab") if needs_fetch else None)
            os.replace(part, path)
        finally:
            part.unlink(missing_ok=True)
    return path


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME")
    parser.add_argument("--list", action="store_true")
    parser.add_argument("--folder", type=pathlib.Path, help="not the cache but this folder")
    arguments = parser.parse_args()
    if arguments.list:
        print("\n".join(NAMES))
        return 0
    try:
        for name in arguments.names:
            print(model(name, arguments.folder))
    except ValueError as error:
        parser.error(str(error))
    return 0


if __name__ == "__main__":
    sys.exit(main())
