/* Fills the kernel table level by level and tells which level provides an entry. The table is built
 * once at start and const afterwards; these functions keep no state. */
#include "kernels/kernels.h"

#include <string.h>

#include "kernels/levels.h"

typedef void (*fill_fn)(sl_kernels *k);

/* In the order of filling. AVXVNNI is a side branch: 256-bit products on top of AVX2, not part of
 * AVX-512. */
static const struct {
    sl_isa isa;
    fill_fn fill;
} levels[] = {
    {SL_ISA_REF, sl_kernels_fill_ref},
#if defined(__x86_64__) && !defined(SLUICE_GENERIC)
    {SL_ISA_AVX2, sl_kernels_fill_avx2},
    {SL_ISA_AVXVNNI, sl_kernels_fill_avxvnni},
    {SL_ISA_AVX512, sl_kernels_fill_avx512},
    {SL_ISA_AVX512VNNI, sl_kernels_fill_avx512vnni},
    {SL_ISA_AVX512BF16, sl_kernels_fill_avx512bf16},
    {SL_ISA_AMX, sl_kernels_fill_amx},
#endif
};
enum { N_LEVELS = sizeof(levels) / sizeof(levels[0]) };

static bool level_used(sl_isa level, sl_isa isa) {
    return level <= isa && (level != SL_ISA_AVXVNNI || isa == SL_ISA_AVXVNNI);
}

void sl_kernels_init(sl_kernels *k, sl_isa isa) {
    memset(k, 0, sizeof(*k));
    for (size_t i = 0; i < N_LEVELS; i++) {
        if (level_used(levels[i].isa, isa)) {
            levels[i].fill(k);
        }
    }
    k->isa = isa;
}

#define ENTRY(label, member)                                                                       \
    { label, offsetof(sl_kernels, member) }
static const struct {
    const char *label;
    size_t offset; /* of the function pointer */
} entries[] = {
    ENTRY("mul q4_0", product[SL_TYPE_Q4_0].mul),
    ENTRY("mul q4_1", product[SL_TYPE_Q4_1].mul),
    ENTRY("mul q5_0", product[SL_TYPE_Q5_0].mul),
    ENTRY("mul q5_1", product[SL_TYPE_Q5_1].mul),
    ENTRY("mul q8_0", product[SL_TYPE_Q8_0].mul),
    ENTRY("mul q8_1", product[SL_TYPE_Q8_1].mul),
    ENTRY("mul q2_k", product[SL_TYPE_Q2_K].mul),
    ENTRY("mul q3_k", product[SL_TYPE_Q3_K].mul),
    ENTRY("mul q4_k", product[SL_TYPE_Q4_K].mul),
    ENTRY("mul q5_k", product[SL_TYPE_Q5_K].mul),
    ENTRY("mul q6_k", product[SL_TYPE_Q6_K].mul),
    ENTRY("mul iq1_s", product[SL_TYPE_IQ1_S].mul),
    ENTRY("mul iq1_m", product[SL_TYPE_IQ1_M].mul),
    ENTRY("mul iq2_xxs", product[SL_TYPE_IQ2_XXS].mul),
    ENTRY("mul iq2_xs", product[SL_TYPE_IQ2_XS].mul),
    ENTRY("mul iq2_s", product[SL_TYPE_IQ2_S].mul),
    ENTRY("mul iq3_xxs", product[SL_TYPE_IQ3_XXS].mul),
    ENTRY("mul iq3_s", product[SL_TYPE_IQ3_S].mul),
    ENTRY("mul iq4_nl", product[SL_TYPE_IQ4_NL].mul),
    ENTRY("mul iq4_xs", product[SL_TYPE_IQ4_XS].mul),
    ENTRY("mul mxfp4", product[SL_TYPE_MXFP4].mul),
    ENTRY("mul nvfp4", product[SL_TYPE_NVFP4].mul),
    ENTRY("mul tq1_0", product[SL_TYPE_TQ1_0].mul),
    ENTRY("mul tq2_0", product[SL_TYPE_TQ2_0].mul),
    ENTRY("mul q1_0", product[SL_TYPE_Q1_0].mul),
    ENTRY("mul q2_0", product[SL_TYPE_Q2_0].mul),
    ENTRY("mul bf16", bf16.mul),
    ENTRY("mul amx", amx.mul),
    ENTRY("mul plain", plain.mul),
    ENTRY("mul f32", mul_f32),
    ENTRY("quantize row", quantize_row),
    ENTRY("rms norm", rms_norm),
    ENTRY("layer norm", layer_norm),
    ENTRY("rope norm", rope_norm),
    ENTRY("rope neox", rope_neox),
    ENTRY("act", act),
    ENTRY("add", add),
    ENTRY("add scaled", add_scaled),
    ENTRY("scale", scale),
    ENTRY("softcap", softcap),
    ENTRY("kv store f16", kv_store[SL_KV_F16]),
    ENTRY("kv store f32", kv_store[SL_KV_F32]),
    ENTRY("kv store bf16", kv_store[SL_KV_BF16]),
    ENTRY("kv store rows f16", kv_store_rows[SL_KV_F16]),
    ENTRY("kv store rows bf16", kv_store_rows[SL_KV_BF16]),
    ENTRY("kv store int8", kv_store[SL_KV_INT8]),
    ENTRY("kv store int4", kv_store[SL_KV_INT4]),
    ENTRY("attend f16", attend[SL_KV_F16]),
    ENTRY("attend f32", attend[SL_KV_F32]),
    ENTRY("attend bf16", attend[SL_KV_BF16]),
    ENTRY("attend int8", attend[SL_KV_INT8]),
    ENTRY("attend int4", attend[SL_KV_INT4]),
    ENTRY("attend merge", attend_merge),
    ENTRY("attend amx f16", attend_amx.attend[SL_KV_F16]),
    ENTRY("attend amx bf16", attend_amx.attend[SL_KV_BF16]),
    ENTRY("argmax", argmax),
    ENTRY("not below", not_below),
    ENTRY("sum exp", sum_exp),
};
#undef ENTRY
enum { N_ENTRIES = sizeof(entries) / sizeof(entries[0]) };

/* Bytes of the function pointer at an offset of the table; all function pointers have one size
 * here. */
static bool entry_same(const sl_kernels *a, const sl_kernels *b, size_t offset) {
    return memcmp((const char *)a + offset, (const char *)b + offset, sizeof(void (*)(void))) == 0;
}

void sl_kernels_describe(const sl_kernels *k, void (*fn)(void *user, const char *entry, sl_isa isa),
                         void *user) {
    static const sl_kernels empty;
    sl_isa provider[N_ENTRIES] = {SL_ISA_REF};
    sl_kernels before, now;
    memset(&now, 0, sizeof(now));
    for (size_t i = 0; i < N_LEVELS; i++) {
        if (!level_used(levels[i].isa, k->isa)) {
            continue;
        }
        before = now;
        levels[i].fill(&now);
        for (size_t e = 0; e < N_ENTRIES; e++) {
            if (!entry_same(&before, &now, entries[e].offset)) {
                provider[e] = levels[i].isa;
            }
        }
    }
    for (size_t e = 0; e < N_ENTRIES; e++) {
        if (!entry_same(&now, &empty, entries[e].offset)) {
            fn(user, entries[e].label, provider[e]);
        }
    }
}

const char *sl_kv_type_name(sl_kv_type type) {
    static const char *const names[SL_KV_TYPE_COUNT] = {"f16", "f32", "bf16", "int8", "int4"};
    return names[type];
}

static size_t round_up_16(size_t n) {
    return (n + 15) / 16 * 16;
}

/* A panel of a part of the columns, room to decode as much, and the sums of a block of rows. The
 * reference decodes one whole row. */
size_t sl_mul_f32_scratch_floats(uint32_t n_in) {
    const size_t parts = SL_PANEL_ROWS * (2 * SL_MUL_F32_COLUMNS + SL_MUL_F32_ROWS);
    return n_in > parts ? round_up_16(n_in) : parts;
}

/* Tiles of two panels, BF16, of a part of the columns. */
size_t sl_product_amx_scratch_bytes(uint32_t n_in) {
    const size_t columns = n_in < SL_PRODUCT_AMX_COLUMNS ? n_in : SL_PRODUCT_AMX_COLUMNS;
    const size_t groups = (columns + SL_BF16_GROUP - 1) / SL_BF16_GROUP;
    return 2 * SL_PANEL_ROWS * SL_BF16_GROUP * sizeof(uint16_t) * groups;
}

/* Per pair of a chunk: the scaled query or its codes, the output so far, maximum and sum; of one
 * tile: the scores, and what a part has. */
size_t sl_attend_scratch_floats(uint32_t n_rows, uint32_t n_group, uint32_t d_k, uint32_t d_v) {
    const uint32_t rows = sl_attend_chunk_rows(n_rows, n_group);
    return (size_t)rows * n_group * sl_attend_query_floats(d_k) +
           sl_attend_part_floats(rows, n_group, d_v) +
           (size_t)SL_ATTEND_TILE_MAX * SL_ATTEND_BLOCK +
           sl_attend_part_floats(1, SL_ATTEND_TILE_MAX, d_v);
}

/* Of a block the keys and values as tiles; of 32 pairs the scores, weights and outputs; of all
 * pairs of a chunk the queries and what a part has. Rows of scores and weights lie an odd number of
 * cache lines apart. */
size_t sl_attend_amx_scratch_floats(uint32_t n_rows, uint32_t n_group, uint32_t d_k, uint32_t d_v) {
    const size_t group = 32;
    const size_t rows = sl_attend_amx_chunk_rows(n_rows, n_group);
    const size_t pairs = (rows * n_group + group - 1) / group * group;
    const size_t d_k32 = ((size_t)d_k + 31) / 32 * 32, d_v16 = round_up_16(d_v);
    return SL_ATTEND_BLOCK * (d_k32 + d_v16) / 2 + pairs * sl_row_stride(d_k, 2) / 2 +
           group * (SL_ATTEND_BLOCK + 32) / 2 + group * (SL_ATTEND_BLOCK + 16) +
           group * (d_v16 + 2) + pairs * (d_v16 + 2);
}

/* Per pair the output, the maximum and the sum. */
size_t sl_attend_part_floats(uint32_t n_rows, uint32_t n_group, uint32_t d_v) {
    const size_t pairs = (size_t)n_rows * n_group;
    return pairs * round_up_16(d_v) + 2 * round_up_16(pairs);
}

void sl_kernels_fill_ref(sl_kernels *k) {
    sl_product_fill_ref(k);
    sl_attend_fill_ref(k);
    sl_rows_fill_ref(k);
    sl_act_fill_ref(k);
}
