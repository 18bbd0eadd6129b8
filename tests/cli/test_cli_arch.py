"""One model written in two ways gives the same logits, and keys and tensors that would change an answer
are refused, not ignored. Each file is one of the small reference models with a few entries edited."""

import math
import struct

import pytest

import gguf_edit
from conftest import GOLDEN, refused, run_json, sluice
from gguf_edit import ARRAY, BOOL, F32, I32, STRING, U32, Value

TYPE_F32, TYPE_F16, TYPE_Q8_0, TYPE_BF16, TYPE_MXFP4 = 0, 1, 8, 30, 39
IDS = ",".join(str((37 * i + 11) % 500) for i in range(40))


def load(name):
    path, = (GOLDEN / "arch" / name).glob("*.gguf")
    return gguf_edit.File(path.read_bytes())


@pytest.fixture(scope="module")
def llama():
    return load("llama-rope-yarn")


@pytest.fixture
def write(tmp_path):
    def write(f, name="model.gguf"):
        path = tmp_path / name
        path.write_bytes(f.bytes())
        return path
    return write


@pytest.fixture
def logits(write, tmp_path):
    def logits(f, *flags):
        out = tmp_path / "rows.f32"
        sluice("logits", write(f), "--ids", IDS, "--out", out, "--quiet", "--threads", "1", *flags,
               check=0)
        rows = out.read_bytes()
        assert all(map(math.isfinite, struct.unpack(f"<{len(rows) // 4}f", rows)))
        return rows
    return logits


@pytest.fixture
def refuse(write):
    def refuse(f, *parts):
        path = write(f)
        refused(sluice("inspect", path, "--plan"), path, *parts)
        refused(sluice("run", path, "--ids", "1,2,3", "-n", "1"), path, *parts)
    return refuse


@pytest.fixture
def plan(write):
    def plan(f):
        return sluice("inspect", write(f), "--plan", check=0).out.decode()
    return plan


def edited(f, arch=None, **keys):
    """Keys of the architecture, `__` for the point."""
    g = f.copy()
    arch = arch or g.kv[b"general.architecture"].value.decode()
    for key, value in keys.items():
        g.kv[f"{arch}.{key.replace('__', '.')}".encode()] = value
    return g


def floats(*values):
    return struct.pack(f"<{len(values)}f", *values)


# --- windows ---------------------------------------------------------------------------------------

def test_windows_by_layer(llama, logits, plan):
    plain = logits(llama)
    window = edited(llama, attention__sliding_window=Value(U32, 8))
    both = logits(window)
    assert both != plain
    assert plan(window).count("window 8") == 2 + plan(window).count("layers of window 8")

    def pattern(kind, *flags):
        return edited(window, attention__sliding_window_pattern=Value(ARRAY, list(flags), kind))
    assert logits(pattern(BOOL, False, False)) == plain
    assert logits(pattern(BOOL, True, True)) == both
    first, second = logits(pattern(BOOL, True, False)), logits(pattern(BOOL, False, True))
    assert len({plain, both, first, second}) == 4
    assert logits(pattern(I32, 1, 0)) == first
    assert logits(pattern(U32, 0, 1)) == second

    def number(n):
        return logits(edited(window, attention__sliding_window_pattern=Value(U32, n)))
    assert (number(0), number(1), number(2), number(3)) == (both, plain, first, both)


def test_window_patterns_that_are_none(llama, refuse):
    window = edited(llama, attention__sliding_window=Value(U32, 8))
    key = "llama.attention.sliding_window_pattern"
    for value in (Value(ARRAY, [True], BOOL), Value(ARRAY, [], BOOL), Value(ARRAY, [1.0, 0.0], F32),
                  Value(STRING, b"LG"), Value(U32, 5000)):
        refuse(edited(window, attention__sliding_window_pattern=value), key)


def test_a_window_that_must_be_there(refuse):
    f = load("gpt-oss")
    del f.kv[b"gpt-oss.attention.sliding_window"]
    refuse(f, "gpt-oss.attention.sliding_window")


# --- vectors ---------------------------------------------------------------------------------------

def test_bias_beside_a_norm_that_has_none(llama, refuse):
    f = llama.copy()
    f.put(b"blk.1.attn_norm.bias", [64], TYPE_F32, floats(*[0.5] * 64))
    refuse(f, "blk.1.attn_norm.bias")


def q8_0(values):
    """(stored, what it stands for)"""
    stored, meant = b"", []
    for i in range(0, len(values), 32):
        block = values[i:i + 32]
        scale = 2.0 ** math.ceil(math.log2(max(map(abs, block)) / 127))
        q = [round(v / scale) for v in block]
        stored += struct.pack("<e32b", scale, *q)
        meant += [scale * x for x in q]
    return stored, meant


def test_vectors_of_other_types(llama, logits):
    names = [b"blk.0.attn_norm.weight", b"blk.1.ffn_norm.weight", b"output_norm.weight"]
    plain = logits(llama)
    f16, bf16, q8, meant = (llama.copy() for _ in range(4))
    for name in names:
        values = struct.unpack("<64f", llama.data(name, 256))
        f16.put(name, [64], TYPE_F16, struct.pack("<64e", *values))
        bf16.put(name, [64], TYPE_BF16, b"".join(struct.pack("<f", v)[2:] for v in values))
        stored, decoded = q8_0(values)
        q8.put(name, [64], TYPE_Q8_0, stored)
        meant.put(name, [64], TYPE_F32, floats(*decoded))
    for flags in ((), ("--no-exact",)):
        plain = logits(llama, *flags)
        assert logits(f16, *flags) == plain
        assert logits(bf16, *flags) == plain
        rounded = logits(q8, *flags)
        assert rounded == logits(meant, *flags) and rounded != plain


def test_biases_of_a_common_matrix(logits):
    """attn_qkv.bias, and the same in three."""
    f = load("bloom")
    g = f.copy()
    for layer in range(2):
        name = f"blk.{layer}.attn_qkv.bias".encode()
        values = f.data(name, 3 * 256)
        g.drop(name)
        for i, part in enumerate("qkv"):
            g.put(f"blk.{layer}.attn_{part}.bias".encode(), [64], TYPE_F32, values[256 * i:][:256])
    assert logits(g) == logits(f)
    g.put(b"blk.1.attn_k.bias", [64], TYPE_F32, floats(*range(64)))
    g.put(b"blk.1.attn_v.bias", [64], TYPE_F32, floats(*range(64)))
    assert logits(g) != logits(f)


# --- experts ---------------------------------------------------------------------------------------

def test_kinds_of_routing(logits, plan):
    f = load("granitemoe")
    plain = logits(f)
    assert "softmax of the used" in plan(f)

    def kind(n, **keys):
        return logits(edited(f, expert_gating_func=Value(U32, n), **keys))
    assert kind(0) == plain and kind(3) == plain
    assert len({plain, kind(1), kind(2)}) == 3
    # The softmax of all, normalised over the chosen, is the softmax of the chosen; not to the last bit.
    near = struct.unpack("<20480f", kind(1))
    assert max(abs(a - b) for a, b in zip(near, struct.unpack("<20480f", plain))) < 1e-4
    assert kind(1, expert_weights_norm=Value(BOOL, False)) != kind(1)
    assert kind(3, expert_weights_norm=Value(BOOL, False)) == plain


def test_routing_that_is_none(refuse):
    f = load("granitemoe")
    refuse(edited(f, expert_gating_func=Value(U32, 4)), "granitemoe.expert_gating_func")
    refuse(edited(f, expert_used_count=Value(U32, 7)), "expert_used_count")
    f = load("deepseek2-lite")
    for groups, used in ((3, 1), (2, 0), (2, 3), (4, 1)):
        refuse(edited(f, expert_group_count=Value(U32, groups),
                      expert_group_used_count=Value(U32, used)), "deepseek2.expert_group_count")


def test_gate_and_up_of_experts_in_one(logits):
    f = load("gpt-oss")
    g = f.copy()
    n_bytes = 64 * 64 // 32 * 17
    for layer in range(2):
        gate, up, both = (f"blk.{layer}.ffn_{n}_exps.".encode() for n in ("gate", "up", "gate_up"))

        def fused(part, size):
            pieces = [f.data(name + part, 4 * size)[size * e:][:size]
                      for e in range(4) for name in (gate, up)]
            g.drop(gate + part)
            g.drop(up + part)
            return b"".join(pieces)
        g.put(both + b"weight", [64, 128, 4], TYPE_MXFP4, fused(b"weight", n_bytes))
        g.put(both + b"bias", [128, 4], TYPE_F32, fused(b"bias", 256))
    for flags in ((), ("--no-exact",)):
        assert logits(g, *flags) == logits(f, *flags)


# --- rotary positions ------------------------------------------------------------------------------

def test_factor_of_yarn(llama, logits, refuse):
    plain = logits(llama)

    def factor(x):
        return logits(edited(llama, rope__scaling__yarn_attn_factor=Value(F32, x)))
    usual = struct.unpack("<f", floats(0.1 * math.log(4) + 1))[0]
    assert factor(usual) == plain and factor(1.0) != plain
    assert logits(edited(llama, rope__scaling__yarn_ext_factor=Value(F32, 1.0))) == plain
    refuse(edited(llama, rope__scaling__yarn_ext_factor=Value(F32, 0.5)), "yarn_ext_factor")


def test_factor_without_a_type(llama, logits):
    f = llama.copy()
    f.kv[b"llama.rope.scaling.type"] = Value(STRING, b"linear")
    linear = logits(f)
    del f.kv[b"llama.rope.scaling.type"]
    assert logits(f) == linear
    del f.kv[b"llama.rope.scaling.factor"]
    assert logits(f) != linear


def test_base_of_windowed_layers(llama, logits, refuse):
    assert logits(edited(llama, rope__freq_base_swa=Value(F32, 10000.0))) == logits(llama)
    refuse(edited(llama, rope__freq_base_swa=Value(F32, 20000.0)), "llama.rope.freq_base_swa")


def test_odd_number_of_rotated_elements(llama, logits, refuse):
    refuse(edited(llama, rope__dimension_count=Value(U32, 15)), "llama.rope.dimension_count")
    f = load("bloom")  # which rotates nothing
    assert logits(edited(f, rope__dimension_count=Value(U32, 15))) == logits(f)


@pytest.mark.parametrize("name", (b"rope_factors_short.weight", b"rope_factors_long.weight"))
def test_one_list_of_factors(refuse, name):
    f = load("phi3-longrope")
    f.drop(name)
    refuse(f, "rope_factors_short.weight", "rope_factors_long.weight")


def test_factors_that_give_no_rotation(refuse):
    f = load("phi3-longrope")
    for bad in (0.0, -1.0, math.nan):
        g = f.copy()
        g.put(b"rope_factors_long.weight", [8], TYPE_F32, floats(*[1.0] * 7, bad))
        refuse(g, "rotary frequency")
    del f.kv[b"phi3.rope.scaling.attn_factor"]
    refuse(edited(f, rope__scaling__original_context_length=Value(U32, 1)),
           "phi3.rope.scaling.original_context_length")


# --- long sequences ----------------------------------------------------------------------------------

@pytest.mark.parametrize("name, n_prompt", (("phi3-longrope", 60), ("phi3-longrope", 64),
                                            ("phi3-longrope", 65), ("gpt-oss", 20), ("gpt-oss", 54)))
def test_generation_is_as_a_prompt(write, tmp_path, name, n_prompt):
    """Over the border of longrope's two tables (64 tokens), of windows (24) and of pages (32), each
    token is the one that a fresh pass over all before it finds."""
    path, out = write(load(name)), tmp_path / "last.f32"
    ids = [(37 * i + 11) % 500 for i in range(n_prompt)]
    new = run_json(path, "--ids", ",".join(map(str, ids)), "-n", 12, "--ignore-eos", "--exact")["ids"]
    assert len(new) == 12
    for token in new:
        sluice("logits", path, "--ids", ",".join(map(str, ids)), "--last", "--out", out, "--quiet",
               check=0)
        row = struct.unpack("<512f", out.read_bytes())
        assert row.index(max(row)) == token
        ids.append(token)


# --- sizes -----------------------------------------------------------------------------------------

def test_sizes_by_layer(llama, logits, refuse):
    plain = logits(llama)
    for key, value in (("head_count_kv", 2), ("head_count", 4)):
        for kind in (I32, U32):
            f = edited(llama, **{"attention__" + key: Value(ARRAY, [value] * 2, kind)})
            assert logits(f) == plain
    for values in ([2, 1], [1, 2], [0, 2], [], [-1, -1]):
        refuse(edited(llama, attention__head_count_kv=Value(ARRAY, values, I32)),
               "llama.attention.head_count_kv")


def test_two_forms_of_latent_matrices(logits):
    """Where both forms are there, one is enough."""
    f = load("deepseek2-lite")
    g = f.copy()
    g.put(b"blk.0.attn_kv_b.weight", [16, 64], TYPE_F32, floats(*[math.nan] * 1024))
    assert logits(g) == logits(f)


# --- weights that are no numbers ---------------------------------------------------------------------

ODD = {"nan": math.nan, "inf": math.inf, "minus-inf": -math.inf, "huge": 3e38, "zero": 0.0}


@pytest.mark.parametrize("value", ODD.values(), ids=ODD.keys())
@pytest.mark.parametrize("role, dims", ((b"ffn_gate_inp.weight", [64, 6]), (b"attn_norm.weight", [64]),
                                        (b"attn_q.weight", [64, 64]), (b"output_norm.weight", [64])),
                         ids=lambda x: x.decode() if isinstance(x, bytes) else "")
def test_odd_weights(write, role, dims, value):
    """An answer or one sentence, whichever experts such numbers choose."""
    f = load("granitemoe")
    name = role if role.startswith(b"output") else b"blk.1." + role
    f.put(name, dims, TYPE_F32, floats(*[value] * math.prod(dims)))
    path = write(f)
    for flags in ((), ("--exact",)):
        r = sluice("run", path, "--ids", IDS, "-n", "3", "--ignore-eos", "--threads", "2", *flags)
        if r.code != 0:
            refused(r, "NaN or infinity")
        assert r.code == 0 or not value == 0.0


def test_largest_epsilon(llama, logits, refuse):
    key = "attention__layer_norm_rms_epsilon"
    assert logits(edited(llama, **{key: Value(F32, 1.0)})) != logits(llama)
    for eps in (1.5, 0.0, -1e-5, math.nan, math.inf):
        refuse(edited(llama, **{key: Value(F32, eps)}), "llama.attention.layer_norm_rms_epsilon")
