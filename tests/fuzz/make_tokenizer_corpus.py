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
GEMMA4 = [(b"model", string(b"gemma4")),
          (b"tokens", strings([b"<unk>", b"<0x41>", b"a", b"b", b"ab", "▁".encode(), "▁a".encode(), b"\n\n", b"<turn|>"])),
          (b"token_type", types([2, 6, 1, 1, 1, 1, 1, 1, 4])),
          (b"merges", strings([b"a b", "▁ a".encode()]))]
# A character map of one rule: unit 0 leads over "a" (0x61) to unit 0x61, whose value is in unit 0x60 ^ 0x61.
UNITS = [0] * 256
UNITS[0x61] = 0x61 | 1 << 8 | 1 << 10
CHARSMAP = struct.pack("<I256I", 1024, *UNITS) + b"bc\0"
T5 = [(b"model", string(b"t5")),
      (b"tokens", strings([b"<pad>", b"</s>", b"<unk>", b"a", b"b", b"ab", "▁a".encode(), "▁".encode()])),
      (b"scores", array(6, 8, struct.pack("<8f", 0, 0, 0, -3, -3, -4, -4, -2))),
      (b"token_type", types([3, 3, 2, 1, 4, 5, 1, 1])),
      (b"add_space_prefix", struct.pack("<IB", 7, 1)), (b"remove_extra_whitespaces", struct.pack("<IB", 7, 1)),
      (b"precompiled_charsmap", array(0, len(CHARSMAP), CHARSMAP))]
BERT = [(b"model", string(b"bert")),
        (b"tokens", strings([b"[PAD]", b"[UNK]", b"[CLS]", b"[SEP]", "▁a".encode(), b"b", b"ab", "▁'".encode()])),
        (b"token_type", types([3, 3, 3, 3, 1, 1, 1, 1])),
        (b"cls_token_id", struct.pack("<II", 4, 2))]
FILES = {
    "bpe_words": b"bab aba 1234 12 isn't  \n\n x\r\n",
    "bpe_special": "B<|im_start|>user\na<|im_end|> <|im_<|im_end".encode(),
    "bpe_invalid": b"b\xff\xc3\x28 \xf0\x9f\x99 \xed\xa0\x80a\xf4\x90\x80\x80",
    "bpe_long": b"b" + b"abaab" * 40,
    "spm_words": "sab abab  é\n".encode() + b"\xe4\xbd",
    "spm_special": "S<|im_start|> a<|im_end|>▁▁a".encode(),
    "raw_words": "rab  aa\n\n\n é".encode() + b"\xf4\x90\x80\x80",
    "raw_special": "R<|im_start|> a<|im_end|>▁▁a\n".encode(),
    "unigram_words": "uab  aba\té 你".encode() + b"\xff",
    "unigram_special": "U<|im_start|> a<|im_end|>▁▁a".encode(),
    "wordpiece_words": "wÀb aba's don 't . 你好 e\u0301\u200b".encode() + b"\xc3",
    "wordpiece_special": "W<|im_start|> a [CLS]<|im_end|>".encode(),
    "charsmap": b"c" + CHARSMAP,
    "vocabulary_gemma4": b"v" + gguf(GEMMA4),
    "vocabulary_t5": b"v" + gguf(T5),
    "vocabulary_bert": b"v" + gguf(BERT),
    "vocabulary_bpe": b"v" + gguf(BPE),
    "vocabulary_spm": b"v" + gguf(SPM),
}

os.makedirs(sys.argv[1], exist_ok=True)
for name, data in FILES.items():
    with open(os.path.join(sys.argv[1], name), "wb") as f:
        f.write(data)
