"""Writes tests/golden/quant/streams.json: for each number format of weights, a hash of what the reference makes
of 1024 blocks of pseudo-random bytes, bit for bit.

usage: make_quant.py > tests/golden/quant/streams.json     (needs gguf==0.19.0 and numpy)

So many blocks reach every entry of every codebook and scales of all kinds: infinite, not a number,
subnormal. The values come from gguf.quants; the four formats that it does not decode are written out below
(Q1_0 and Q2_0 as ggml's C code defines them; Q8_1 and Q8_K, which hold activations, by their layout).
Bytes and hash are those of tests/unit/quant/test_formats.c.
"""
import json

import gguf
import numpy as np
from gguf import quants

N_BLOCKS = 1024
MASK = (1 << 64) - 1
LAYOUTS = {"Q1_0": (41, 128, 18), "Q2_0": (42, 64, 18), "Q8_1": (9, 32, 36), "Q8_K": (15, 256, 292)}
PLAIN = ("F32", "F16", "F64", "I8", "I16", "I32", "I64", "BF16")


def stream(seed, n):
    state, out = seed, bytearray()
    for _ in range(n):
        state = (state * 6364136223846793005 + 1442695040888963407) & MASK
        out.append(state >> 56)
    return np.frombuffer(bytes(out), dtype=np.uint8)


def half(blocks, at):
    return np.ascontiguousarray(blocks[:, at:at + 2]).view(np.float16).astype(np.float32)


def q1_0(blocks):
    d, bits = half(blocks, 0), np.unpackbits(blocks[:, 2:], axis=1, bitorder="little")
    return np.where(bits == 1, d, -d)


def q2_0(blocks):
    q = (blocks[:, 2:, None] >> np.array([0, 2, 4, 6], dtype=np.uint8)) & 3
    return (q.reshape(len(blocks), 64).astype(np.float32) - 1) * half(blocks, 0)


def q8_1(blocks):
    return half(blocks, 0) * blocks[:, 4:].view(np.int8).astype(np.float32)


def q8_k(blocks):
    d = np.ascontiguousarray(blocks[:, :4]).view(np.float32)
    return d * blocks[:, 4:260].view(np.int8).astype(np.float32)


OWN = {"Q1_0": q1_0, "Q2_0": q2_0, "Q8_1": q8_1, "Q8_K": q8_k}


def hash_of(values):
    bits = np.where(np.isnan(values), np.uint32(0x7FC00000), values.view(np.uint32))
    h = 0xCBF29CE484222325
    for word in bits.reshape(-1).tolist():
        h = ((h ^ word) * 0x100000001B3) & MASK
    return "%016x" % h


def main():
    np.seterr(all="ignore")
    kinds = {t.name: (int(t), *gguf.GGML_QUANT_SIZES[t]) for t in gguf.GGMLQuantizationType}
    kinds = {k: v for k, v in {**kinds, **LAYOUTS}.items() if k not in PLAIN}
    out = {}
    for name, (number, elements, size) in sorted(kinds.items(), key=lambda k: k[1]):
        blocks = stream(number, N_BLOCKS * size).reshape(N_BLOCKS, size)
        if name in OWN:
            values = OWN[name](blocks)
        else:
            values = quants.dequantize(blocks, gguf.GGMLQuantizationType[name])
        values = np.ascontiguousarray(values, dtype=np.float32)
        assert values.size == N_BLOCKS * elements, name
        out[name] = {"ggml_type": number, "block_elements": elements, "block_bytes": size,
                     "hash": hash_of(values)}
    print("{")
    print(",\n".join("  %s: %s" % (json.dumps(k), json.dumps(v)) for k, v in out.items()))
    print("}")


main()
