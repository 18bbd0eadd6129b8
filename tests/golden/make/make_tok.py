#!/usr/bin/env python3
"""Writes tests/golden/tok/*.json: two small vocabularies and the ids that other tokenisers give.

usage: make_tok.py OUT_DIR        needs: pip install tokenizers==0.23.3 sentencepiece==0.2.3

bpe.json: a byte-level BPE of 600 tokens, trained on the text below, and for each pre-tokeniser the ids by
the library `tokenizers` with that pre-tokeniser's published expression over the same vocabulary.
raw.json: a BPE of characters with byte fallback (as Gemma 4 has it), and the ids by `tokenizers`.
spm.json: a SentencePiece BPE of 500 tokens with byte fallback, and the ids by `sentencepiece`.
unigram.json: a Unigram vocabulary with a small character map of its own, and the ids by `sentencepiece`;
the same once more where runs of spaces are kept and unknown characters are bytes.
wordpiece.json: a WordPiece vocabulary, in GGUF's spelling, and the ids by `tokenizers`, with and without
lower-casing. Scripts whose decomposition goes beyond marks (Hangul) or whose vowel signs are spacing marks
(Devanagari) are left out: GGUF's reference drops there what `tokenizers` keeps.
The texts are written for this purpose, or drawn from their characters with a fixed seed.
"""
import base64
import io
import json
import os
import random
import sys
import tempfile

import sentencepiece
from sentencepiece import sentencepiece_model_pb2
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, trainers

TRAIN = """The tokenizer reads the text and the text becomes numbers. It isn't hard: letters, spaces and
numbers are cut into words, and the words are merged from bytes. We'll see that they've been merged well
when the numbers become the same text again. I'm sure you're going to test it, aren't you? He'd say so.
In 2024 there were 365 or 366 days; 1,000,000 is a million, 3.14159 is nearly pi, and 0x1F is 31.
    for (int i = 0; i < n; i++) {
        total += values[i] * weights[i];   // the sum of products
    }
    if (total != 0) { return total / n; } else { return -1; }
def add(self, other):\n\treturn self.value + other.value\n\n\nclass Number(object):\n    pass\n
Größe, Straße und Übermut: die Bäume stehen grün. Où est la bibliothèque? Là-bas, près de l'été.
Привет, мир! Мы читаем текст и считаем числа. Это не так уж трудно, как кажется.
今天天气很好，我们去公园。東京は日本の首都です。カタカナとひらがな。 안녕하세요 세계.
नमस्ते दुनिया। مرحبا بالعالم. שלום עולם. Γειά σου κόσμε. 🙂🙃👍🏽 — “quoted” … ½ ² Ⅳ ٣
""" * 3

TEXTS = ["", " ", "  ", "\n", "\n\n", "\r\n", "\t\t", " \n \n ", "a", " a", "a ", "  a  b   c", "Hello, World!",
         "isn't WE'LL They'Ve 'S 's'd 't", "don''t ''re '", "x1y22z333w4444v55555", "1 22 333 4444 55555",
         "3.14159 1,000,000 0x1F 1e-10", "٣٤٥ Ⅳ ½ ²³", "total += values[i] * weights[i];\n",
         "def f(x):\n\treturn x\n\n\n", "if (a) {\r\n    b();\r\n}\r\n", "   \n   x", "\n   x\n\n   y  \n",
         "Größe Straße ÜBER grün", "Où est l'été?", "Привет, мир! Мы", "今天天气很好，我们去公园。2024年",
         "東京は日本の首都です", "안녕하세요 세계", "नमस्ते दुनिया।", "مرحبا بالعالم", "Γειά σου Κόσμε",
         "🙂🙃👍🏽 🙂", "e\u0301a\u0308 \u0301x", "camelCaseWord HTTPServer iPhone XMLÄäÖ", "--- *** ___ ===//\n/",
         "¿Qué? ¡Sí! «non» “so” …", "\u00a0nbsp\u2003em\u3000wide", "a\u200bb\ufeffc", "\x00\x01\x7f\x1b[0m",
         "https://example.com/a?b=1&c=%20#d", "C:\\dir\\file.txt", "{\"k\": [1, null]}\n", "ababababab" * 4,
         "the" * 20, " " * 40 + "x", "\n" * 20, "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
         "the the the  the\nthe", "$100 +5 <a> `b` ~c^d|e", "ŉ ſs ŒǅŁ ªº", "ｆｕｌｌ　ＷＩＤＴＨ１２３", "▁▁a▁ b",
         "<0x0A> <unk> </s> <s>", "日本 the 国", "\u2028\u2029\x85x"]

GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
CONTRACTIONS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
LLAMA3 = CONTRACTIONS + (r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
                         r"|\s*[\r\n]+|\s+(?!\S)|\s+")
QWEN2 = LLAMA3.replace("{1,3}", "")
QWEN35 = CONTRACTIONS + (r"|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*"
                         r"|\s*[\r\n]+|\s+(?!\S)|\s+")
UP, LOW = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
TEKKEN = (r"[^\r\n\p{L}\p{N}]?" + UP + "*" + LOW + r"+|[^\r\n\p{L}\p{N}]?" + UP + "+" + LOW + "*"
          r"|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+")
O200K = (r"[^\r\n\p{L}\p{N}]?" + UP + "*" + LOW + "+" + CONTRACTIONS + r"?|[^\r\n\p{L}\p{N}]?" + UP + "+" + LOW
         + "*" + CONTRACTIONS + r"?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+")
DEEPSEEK3 = (r"[!\"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+"
             r"| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+")
HAN_KANA = "[一-龥぀-ゟ゠-ヿ]+"
BLANK = r"|\s*[\r\n]+|\s+(?!\S)|\s+"
SPARK = DEEPSEEK3.replace(r"[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+", r"[\p{P}\p{S}]+|[\r\n]")
UP_K, LOW_K = UP[:-1] + r"&&[^\p{Han}]]", LOW[:-1] + r"&&[^\p{Han}]]"
KIMI = (r"[\p{Han}]+|[^\r\n\p{L}\p{N}]?" + UP_K + "*" + LOW_K + "+" + CONTRACTIONS + r"?|[^\r\n\p{L}\p{N}]?" + UP_K
        + "+" + LOW_K + "*" + CONTRACTIONS + r"?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*" + BLANK)
JAIS2 = LLAMA3[:-len(r"|\s+(?!\S)|\s+")] + "".join(r"|\s{%d}(?!\S)" % n for n in (512, 256, 128, 64, 32, 16, 8, 4)) + (
    r"|\s{1,2}(?!\S)|\s{1}")
EXAONE_MOE = CONTRACTIONS + (r"|[^\r\n\p{L}\p{N}]?(?:\p{L}\p{M}*(?: \p{L}\p{M}*)*)+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]?"
                             r"|\s*[\r\n]|\s+(?!\S)|\s+")
SPACELESS = ("[\u4e00-\u9fff\u3400-\u4dbf\uf900-\ufaff\u3040-\u30ff\uff65-\uff9f\u2f00-\u2fdf\u0e40-\u0eff\u1780-\u17ff"
             "\u1000-\u109f\uaa60-\uaa7f\ua9e0-\ua9ff\uac00-\ud7af\u1100-\u11ff]+")
FROM_END = r"\p{N}{1,3}(?=(?:\p{N}{3})*(?!\p{N}))"
BLOOM = r" ?[^(\s|.,!?…。，、।۔،)]+"
PRE = {
    "default": [r"[\p{P}\$\+<=>\^~\|]+", GPT2, r"\p{N}+", "[0-9][0-9][0-9]"],
    "gpt-2": [GPT2],
    "smollm": [r"\p{N}", GPT2],
    "llama-bpe": [LLAMA3],
    "qwen2": [QWEN2],
    "qwen35": [QWEN35],
    "gpt-4o": [O200K],
    "tekken": [TEKKEN],
    "falcon": [r"[\p{P}\$\+<=>\^~\|`]+", GPT2, "[0-9][0-9][0-9]"],
    "bloom": [BLOOM],
    "deepseek-coder": ["[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", "[一-龥ࠀ-一가-퟿]+", r"\p{N}"],
    "deepseek-v3": [r"\p{N}{1,3}", HAN_KANA, DEEPSEEK3],
    "minicpm5": [r"\p{N}{1,3}", LLAMA3.replace("{1,3}", "+")],
    "jais-2": [JAIS2],
    "laguna": [r"[^\n]+|\n+", QWEN2],
    "seed-coder": [QWEN2.replace(r"]+[\r\n]*", r"\r\n]+")],
    "ufakzeka": [QWEN2[len(CONTRACTIONS) + 1:]],
    "exaone-moe": [EXAONE_MOE],
    "tiny_aya": [r"\p{N}{1,3}(?=(?:\p{N}{3})*\b)", O200K],
    "youtu": ["[가-힣ㄱ-ㆎ]+|[！…“”‘’—：；，、-〿︰-﹏]+|[ㄅ-ㄯ]+|" + HAN_KANA, O200K.replace("{1,3}", "")],
    "kimi-k2": [KIMI],
    "chameleon": ["<sentinel:[0-9]+>", "(IMGIMG)((A|B|C|D|E|F|G|H|I){1,4})Z", "([\t\n]|    |  )", r"\p{N}",
                  r"[\p{P}!-/:-@\[-`{-~]", GPT2],
    "superbpe": [r"\p{N}+", r"(?=([0-9]{3})+(?![0-9]))"],
    "spark2_5": [r"\p{N}{1,3}", HAN_KANA, SPARK, r"\p{N}"],
    "afmoe": [FROM_END, SPACELESS, DEEPSEEK3],
}
IGNORE_MERGES = ("llama-bpe", "tekken", "minicpm5", "youtu")


def random_texts(n):
    rng = random.Random(3)
    # Old Italic and later scripts may be classed differently by other Unicode versions; these are not.
    letters = "aAbBzZéÉßжЖ中あア한ªǅ٣½²'’.,!?-_/\\|<>$+^~`()\"0123456789 \t\n\r\u00a0\u3000\u0301\u200b🙂€"
    chars = list(letters) + [" "] * 6 + ["\n", "'s", "'LL", "the", "  ", "\r\n"] * 2
    return ["".join(rng.choice(chars) for _ in range(rng.randint(2, 24))) for _ in range(n)]


def splitter(expressions):
    steps = [pre_tokenizers.Split(Regex(e), "isolated") for e in expressions]
    return pre_tokenizers.Sequence(steps + [pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])


def make_bpe(texts):
    trained = Tokenizer(models.BPE())
    trained.pre_tokenizer = splitter([GPT2])
    trained.train_from_iterator([TRAIN], trainers.BpeTrainer(
        vocab_size=600, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False))
    model = json.loads(trained.to_str())["model"]
    vocab = model["vocab"]
    merges = [tuple(m) for m in model["merges"]]
    # A whole word that its merges do not reach: only pre-tokenisers that ignore merges use it.
    vocab["Ġtokenisers"] = len(vocab)
    texts = texts + ["two tokenisers are", " tokenisers"]
    cases = {}
    for name, expressions in PRE.items():
        one = Tokenizer(models.BPE(vocab=vocab, merges=merges, ignore_merges=name in IGNORE_MERGES))
        one.pre_tokenizer = splitter(expressions)
        cases[name] = [one.encode(t).ids for t in texts]
    tokens = sorted(vocab, key=vocab.get)
    return {"source": "tokenizers 0.23.3", "tokens": tokens, "merges": [" ".join(m) for m in merges],
            "texts": texts, "ids": cases}


def make_spm(texts):
    out = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(TRAIN.split("\n")), model_writer=out, vocab_size=500, model_type="bpe",
        byte_fallback=True, normalization_rule_name="identity", remove_extra_whitespaces=False,
        add_dummy_prefix=True, character_coverage=0.98, num_threads=1, minloglevel=2)
    sp = sentencepiece.SentencePieceProcessor(model_proto=out.getvalue())
    n = sp.get_piece_size()
    kinds = [2 if sp.is_unknown(i) else 3 if sp.is_control(i) else 6 if sp.is_byte(i) else 1 for i in range(n)]
    # Text that holds U+2581 itself does not survive; NUL is no text for the library.
    texts = [t for t in texts if "\0" not in t]
    return {"source": "sentencepiece 0.2.3", "tokens": [sp.id_to_piece(i) for i in range(n)],
            "scores": [sp.get_score(i) for i in range(n)], "types": kinds, "texts": texts,
            "ids": [sp.encode(t) for t in texts]}


def make_raw(texts):
    trained = Tokenizer(models.BPE())
    trained.normalizer = normalizers.Replace(" ", "\u2581")
    trained.pre_tokenizer = pre_tokenizers.Split(Regex(r"[^\n]+|\n+"), "isolated")
    trained.train_from_iterator([TRAIN], trainers.BpeTrainer(
        vocab_size=700, special_tokens=["<unk>"] + ["<0x%02X>" % b for b in range(256)], show_progress=False,
        limit_alphabet=60))
    model = json.loads(trained.to_str())["model"]
    merges = [tuple(m) for m in model["merges"]]
    one = Tokenizer(models.BPE(vocab=model["vocab"], merges=merges, unk_token="<unk>", byte_fallback=True))
    one.normalizer = trained.normalizer
    one.pre_tokenizer = trained.pre_tokenizer
    # The library takes invalid characters apart differently; there are none here.
    return {"source": "tokenizers 0.23.3", "tokens": sorted(model["vocab"], key=model["vocab"].get),
            "types": [2] + [6] * 256 + [1] * (len(model["vocab"]) - 257), "merges": [" ".join(m) for m in merges],
            "texts": texts, "ids": [one.encode(t).ids for t in texts]}


RULES = {"ﬁ": "fi", "ﬂ": "fl", "\u00a0": " ", "\u3000": " ", "\t": " ", "\n": " ", "\r": " ", "½": "1⁄2", "²": "2",
         "e\u0301": "é", "…": "...", "Ⅳ": "IV", "\u200b": "", "\ufeff": "", "１": "1", "２": "2", "３": "3"}


def make_unigram(texts, joins_spaces):
    out = io.BytesIO()
    with tempfile.TemporaryDirectory() as scratch:
        rules = os.path.join(scratch, "rules.tsv")
        with open(rules, "w", encoding="utf-8") as f:
            for text, to in RULES.items():
                f.write("%s\t%s\n" % (" ".join("%X" % ord(c) for c in text), " ".join("%X" % ord(c) for c in to)))
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(TRAIN.split("\n")), model_writer=out, vocab_size=420, hard_vocab_limit=False, model_type="unigram",
            normalization_rule_tsv=rules, remove_extra_whitespaces=joins_spaces, add_dummy_prefix=True,
            character_coverage=0.98, num_threads=1, minloglevel=2, byte_fallback=not joins_spaces, pad_id=0, eos_id=1, unk_id=2, bos_id=-1)
    proto = sentencepiece_model_pb2.ModelProto.FromString(out.getvalue())
    sp = sentencepiece.SentencePieceProcessor(model_proto=out.getvalue())
    n = sp.get_piece_size()
    # The library joins unknown characters only within one text, as is done here; NUL is no text for it, and of
    # a text of spaces alone it makes other things than the reference does.
    texts = [t for t in texts if "\0" not in t and (t == "" or t.strip(" \t\r\n\u3000\u00a0\u200b\ufeff"))]
    return {"source": "sentencepiece 0.2.3", "tokens": [sp.id_to_piece(i) for i in range(n)],
            "scores": [sp.get_score(i) for i in range(n)],
            "types": [2 if sp.is_unknown(i) else 3 if sp.is_control(i) else 6 if sp.is_byte(i) else 1 for i in range(n)],
            "charsmap": base64.b64encode(proto.normalizer_spec.precompiled_charsmap).decode(),
            "joins_spaces": joins_spaces, "texts": texts, "ids": [sp.encode(t) for t in texts]}


def make_wordpiece(texts, lowers):
    trained = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    trained.normalizer = normalizers.BertNormalizer(lowercase=lowers)
    trained.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    trained.train_from_iterator([TRAIN], trainers.WordPieceTrainer(
        vocab_size=500, special_tokens=["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"], limit_alphabet=90,
        show_progress=False))
    vocab = json.loads(trained.to_str())["model"]["vocab"]
    one = Tokenizer(models.WordPiece(vocab=vocab, unk_token="[UNK]", max_input_chars_per_word=100000))
    one.normalizer = trained.normalizer
    one.pre_tokenizer = trained.pre_tokenizer
    texts = [t for t in texts if not any("\u0900" <= c <= "\u0dff" or "\uac00" <= c <= "\ud7a3" for c in t)]
    tokens = sorted(vocab, key=vocab.get)
    gguf = [t if i < 5 else t[2:] if t.startswith("##") else "\u2581" + t for i, t in enumerate(tokens)]
    return {"source": "tokenizers 0.23.3", "tokens": gguf, "types": [3, 2, 3, 3, 3] + [1] * (len(gguf) - 5),
            "lowers": lowers, "texts": texts, "ids": [one.encode(t).ids for t in texts]}


def write(path, data):
    """One member a line, so that a change shows as lines."""
    with open(path, "w", encoding="utf-8") as f:
        f.write("{\n" + ",\n".join(json.dumps(k) + ": " + json.dumps(v, ensure_ascii=False, separators=(",", ":"))
                                   for k, v in data.items()) + "\n}\n")


texts = TEXTS + random_texts(60)
write(sys.argv[1] + "/bpe.json", make_bpe(texts))
write(sys.argv[1] + "/raw.json", make_raw(texts))
write(sys.argv[1] + "/spm.json", make_spm(texts))
for name, joins_spaces in (("unigram", True), ("unigram_spaces", False)):
    write(sys.argv[1] + "/%s.json" % name, make_unigram(texts, joins_spaces))
for name, lowers in (("wordpiece", True), ("wordpiece_cased", False)):
    write(sys.argv[1] + "/%s.json" % name, make_wordpiece(texts, lowers))
