#!/usr/bin/env python3
"""Writes tests/fuzz/corpus/tokenizer: a few texts and small vocabulary files.

usage: make_tokenizer_corpus.py OUT_DIR
"""
import os
import struct
import sys


def text(s):
    return struct.pack("<Q", len(s)) + s


def array(kind, n, data):
    return struct.pack("<IIQ", 9, kind, n) + data


def gguf(pairs):
    out = b"GGUF" + struct.pack("<IQQ", 3, 0, len(pairs))
    for key, value in pairs:
        out += text(b"tokenizer.ggml." + key) + value
    return out + b"\0" * (-len(out) % 32)


def string(s):
    return struct.pack("<I", 8) + text(s)


def strings(values):
    return array(8, len(values), b"".join(text(v) for v in values))


def types(values):
    return array(5, len(values), struct.pack("<%di" % len(values), *values))


LETTERS = [bytes([c]) for c in b"ab1!<>|_"]
BPE = [(b"model", string(b"gpt2")), (b"pre", string(b"llama-bpe")),
       (b"tokens", strings(LETTERS + [b"ab", b"abab", b"<s>", b"<|im_end|>"])),
       (b"token_type", types([1] * 10 + [3, 4])),
       (b"merges", strings([b"a b", b"ab ab", b"x y"])),
       (b"bos_token_id", struct.pack("<II", 4, 10))]
SPM = [(b"model", string(b"llama")),
       (b"tokens", strings([b"<unk>", b"<s>", b"</s>", b"<0x41>", b"a", b"b", b"ab", "▁a".encode()])),
       (b"scores", array(6, 8, struct.pack("<8f", 0, 0, 0, 0, -1, -2, -3, -4))),
       (b"token_type", types([2, 3, 3, 6, 1, 1, 1, 1]))]
FILES = {
    "bpe_words": b"bab aba 1234 12 isn't  \n\n x\r\n",
    "bpe_special": "B<|im_start|>user\na<|im_end|> <|im_<|im_end".encode(),
    "bpe_invalid": b"b\xff\xc3\x28 \xf0\x9f\x99 \xed\xa0\x80a\xf4\x90\x80\x80",
    "bpe_long": b"b" + b"abaab" * 40,
    "spm_words": "sab abab  é\n".encode() + b"\xe4\xbd",
    "spm_special": "S<|im_start|> a<|im_end|>▁▁a".encode(),
    "vocabulary_bpe": b"v" + gguf(BPE),
    "vocabulary_spm": b"v" + gguf(SPM),
}

os.makedirs(sys.argv[1], exist_ok=True)
for name, data in FILES.items():
    with open(os.path.join(sys.argv[1], name), "wb") as f:
        f.write(data)
