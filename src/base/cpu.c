/* CPUID and XGETBV, read once. What enters: the processor, SLUICE_CPU_MASK. What leaves: the ISA
 * level and readable names. An instruction set counts only when the processor has it AND the system
 * saves its registers (XCR0); AMX also needs the kernel's permission, which is asked for here, once
 * per process. Any thread. Reference: Intel SDM vol. 1 ch. 13-14 and 18, vol. 2 "CPUID"; AMD APM
 * vol. 3 app. E. */
#define _GNU_SOURCE
#include "base/cpu.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"

#if defined(__x86_64__)
#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

#define CPU_FEATURES_MAX 512
#define CPU_MODEL_MAX 64

static const char *const cpu_isa_names[SL_ISA_COUNT] = {
    "ref", "avx2", "avxvnni", "avx512", "avx512vnni", "avx512bf16", "amx",
};

/* Set once by cpu_detect, const afterwards. */
static struct {
    bool has[SL_ISA_COUNT];
    sl_isa hardware, masked;
    char features[CPU_FEATURES_MAX];
    char model[CPU_MODEL_MAX];
} g_cpu;
static pthread_once_t g_cpu_once = PTHREAD_ONCE_INIT;

const char *sl_isa_name(sl_isa isa) {
    return (unsigned)isa < SL_ISA_COUNT ? cpu_isa_names[isa] : "unknown";
}

bool sl_isa_from_name(const char *name, sl_isa *out) {
    for (int i = 0; i < SL_ISA_COUNT; i++) {
        if (strcmp(name, cpu_isa_names[i]) == 0) {
            *out = (sl_isa)i;
            return true;
        }
    }
    return false;
}

#if defined(__x86_64__)

typedef struct cpu_regs {
    uint32_t a, b, c, d;
} cpu_regs;

/* All zero for a leaf that the processor does not have. */
static cpu_regs cpu_leaf(uint32_t leaf, uint32_t sub) {
    cpu_regs r = {0, 0, 0, 0};
    if (__get_cpuid_count(leaf, sub, &r.a, &r.b, &r.c, &r.d) == 0) {
        r = (cpu_regs){0, 0, 0, 0};
    }
    return r;
}

/* XCR0: which register states the system saves. Only when CPUID says OSXSAVE. */
static uint64_t cpu_xcr0(void) {
    uint32_t lo, hi;
    __asm__ volatile("xgetbv" : "=a"(lo), "=d"(hi) : "c"(0));
    return (uint64_t)hi << 32 | lo;
}

/* Tile data is off until a process asks for it: arch_prctl(ARCH_REQ_XCOMP_PERM,
 * XFEATURE_XTILEDATA). The permission covers all threads of the process. */
static bool cpu_amx_permit(void) {
    enum { ARCH_REQ_XCOMP_PERM_ = 0x1023, XFEATURE_XTILEDATA_ = 18 };
    return syscall(SYS_arch_prctl, ARCH_REQ_XCOMP_PERM_, XFEATURE_XTILEDATA_) == 0;
}

typedef enum cpu_feature {
    CPU_SSE4_2,
    CPU_AVX,
    CPU_F16C,
    CPU_FMA,
    CPU_BMI2,
    CPU_AVX2,
    CPU_AVX_VNNI,
    CPU_AVX512F,
    CPU_AVX512BW,
    CPU_AVX512DQ,
    CPU_AVX512VL,
    CPU_AVX512CD,
    CPU_AVX512_VBMI,
    CPU_AVX512_VNNI,
    CPU_AVX512_BF16,
    CPU_AVX512_FP16,
    CPU_AMX_TILE,
    CPU_AMX_INT8,
    CPU_AMX_BF16,
    CPU_FEATURE_COUNT
} cpu_feature;

#define XCR0_YMM 0x6u      /* SSE and AVX state */
#define XCR0_ZMM 0xE6u     /* + opmask, upper ZMM0-15, ZMM16-31 */
#define XCR0_TILE 0x60000u /* tile configuration and data */

/* Where CPUID reports each feature and which saved state it needs. Same order as cpu_feature. */
static const struct {
    const char *name;
    uint32_t leaf, sub;
    char reg;
    uint8_t bit;
    uint32_t xcr0;
} cpu_feature_table[CPU_FEATURE_COUNT] = {
    {"sse4_2", 1, 0, 'c', 20, 0},
    {"avx", 1, 0, 'c', 28, XCR0_YMM},
    {"f16c", 1, 0, 'c', 29, XCR0_YMM},
    {"fma", 1, 0, 'c', 12, XCR0_YMM},
    {"bmi2", 7, 0, 'b', 8, 0},
    {"avx2", 7, 0, 'b', 5, XCR0_YMM},
    {"avx_vnni", 7, 1, 'a', 4, XCR0_YMM},
    {"avx512f", 7, 0, 'b', 16, XCR0_ZMM},
    {"avx512bw", 7, 0, 'b', 30, XCR0_ZMM},
    {"avx512dq", 7, 0, 'b', 17, XCR0_ZMM},
    {"avx512vl", 7, 0, 'b', 31, XCR0_ZMM},
    {"avx512cd", 7, 0, 'b', 28, XCR0_ZMM},
    {"avx512_vbmi", 7, 0, 'c', 1, XCR0_ZMM},
    {"avx512_vnni", 7, 0, 'c', 11, XCR0_ZMM},
    {"avx512_bf16", 7, 1, 'a', 5, XCR0_ZMM},
    {"avx512_fp16", 7, 0, 'd', 23, XCR0_ZMM},
    {"amx_tile", 7, 0, 'd', 24, XCR0_TILE},
    {"amx_int8", 7, 0, 'd', 25, XCR0_TILE},
    {"amx_bf16", 7, 0, 'd', 22, XCR0_TILE},
};

static void cpu_read_features(bool f[CPU_FEATURE_COUNT]) {
    uint64_t xcr0 = (cpu_leaf(1, 0).c & (1u << 27)) != 0 ? cpu_xcr0() : 0;
    uint32_t max_sub7 = cpu_leaf(7, 0).a;
    for (int i = 0; i < CPU_FEATURE_COUNT; i++) {
        cpu_regs r = cpu_leaf(cpu_feature_table[i].leaf, cpu_feature_table[i].sub);
        if (cpu_feature_table[i].leaf == 7 && cpu_feature_table[i].sub > max_sub7) {
            r = (cpu_regs){0, 0, 0, 0};
        }
        char reg = cpu_feature_table[i].reg;
        uint32_t v = reg == 'a' ? r.a : reg == 'b' ? r.b : reg == 'c' ? r.c : r.d;
        uint32_t need = cpu_feature_table[i].xcr0;
        f[i] = (v >> cpu_feature_table[i].bit & 1) != 0 && (xcr0 & need) == need;
    }
    bool amx = f[CPU_AMX_TILE] && cpu_amx_permit();
    f[CPU_AMX_TILE] = amx;
    f[CPU_AMX_INT8] = f[CPU_AMX_INT8] && amx;
    f[CPU_AMX_BF16] = f[CPU_AMX_BF16] && amx;
}

static void cpu_read_levels(const bool f[CPU_FEATURE_COUNT]) {
    bool *has = g_cpu.has;
    has[SL_ISA_AVX2] = f[CPU_AVX2] && f[CPU_AVX] && f[CPU_FMA] && f[CPU_F16C] && f[CPU_BMI2];
    has[SL_ISA_AVXVNNI] = has[SL_ISA_AVX2] && f[CPU_AVX_VNNI];
    has[SL_ISA_AVX512] = has[SL_ISA_AVX2] && f[CPU_AVX512F] && f[CPU_AVX512BW] && f[CPU_AVX512DQ] &&
                         f[CPU_AVX512VL] && f[CPU_AVX512CD];
    has[SL_ISA_AVX512VNNI] = has[SL_ISA_AVX512] && f[CPU_AVX512_VNNI];
    has[SL_ISA_AVX512BF16] = has[SL_ISA_AVX512VNNI] && f[CPU_AVX512_BF16];
    has[SL_ISA_AMX] = has[SL_ISA_AVX512BF16] && f[CPU_AMX_TILE] && f[CPU_AMX_INT8] &&
                      f[CPU_AMX_BF16];
}

static void cpu_write_features(const bool f[CPU_FEATURE_COUNT]) {
    size_t len = 0;
    for (int i = 0; i < CPU_FEATURE_COUNT; i++) {
        size_t n = strlen(cpu_feature_table[i].name);
        if (f[i] && len + n + 2 <= CPU_FEATURES_MAX) {
            if (len > 0) {
                g_cpu.features[len++] = ' ';
            }
            memcpy(g_cpu.features + len, cpu_feature_table[i].name, n);
            len += n;
        }
    }
    g_cpu.features[len] = '\0';
}

/* The brand string: 48 bytes in leaves 0x80000002..4, padded with blanks on either side. */
static void cpu_write_model(void) {
    char brand[49] = {0};
    for (uint32_t i = 0; i < 3; i++) {
        cpu_regs r = cpu_leaf(0x80000002u + i, 0);
        memcpy(brand + 16 * i, &r, 16);
    }
    const char *begin = brand;
    while (*begin == ' ') {
        begin++;
    }
    size_t len = strlen(begin);
    while (len > 0 && begin[len - 1] == ' ') {
        len--;
    }
    if (len == 0) {
        begin = "x86-64";
        len = strlen(begin);
    }
    for (size_t i = 0; i < len; i++) {
        g_cpu.model[i] = begin[i] >= 0x20 && begin[i] < 0x7F ? begin[i] : '?';
    }
    g_cpu.model[len] = '\0';
}

static void cpu_probe(void) {
    bool f[CPU_FEATURE_COUNT];
    cpu_read_features(f);
    cpu_read_levels(f);
    cpu_write_features(f);
    cpu_write_model();
}

#else

static void cpu_probe(void) {
#if defined(__aarch64__)
    memcpy(g_cpu.model, "aarch64", sizeof("aarch64"));
#elif defined(__riscv)
    memcpy(g_cpu.model, "riscv", sizeof("riscv"));
#else
    memcpy(g_cpu.model, "unknown", sizeof("unknown"));
#endif
}

#endif

static sl_isa cpu_highest(sl_isa limit) {
    for (int i = (int)limit; i > 0; i--) {
        if (g_cpu.has[i]) {
            return (sl_isa)i;
        }
    }
    return SL_ISA_REF;
}

/* NULL when the variable is not set or empty. */
static const char *cpu_mask_text(void) {
    const char *mask = getenv("SLUICE_CPU_MASK");
    return mask != NULL && mask[0] != '\0' ? mask : NULL;
}

static void cpu_detect(void) {
    g_cpu.has[SL_ISA_REF] = true;
    cpu_probe();
    g_cpu.hardware = cpu_highest(SL_ISA_AMX);
    sl_isa limit = SL_ISA_AMX;
    const char *mask = cpu_mask_text();
    if (mask != NULL) {
        (void)sl_isa_from_name(mask, &limit); /* a wrong name is reported by sl_cpu_check_mask */
    }
    g_cpu.masked = cpu_highest(limit);
}

static void cpu_init(void) {
    (void)pthread_once(&g_cpu_once, cpu_detect);
}

sl_isa sl_cpu_isa(void) {
    cpu_init();
    return g_cpu.masked;
}

sl_isa sl_cpu_isa_hardware(void) {
    cpu_init();
    return g_cpu.hardware;
}

bool sl_cpu_has(sl_isa isa) {
    cpu_init();
    return (unsigned)isa < SL_ISA_COUNT && g_cpu.has[isa];
}

sl_status sl_cpu_check_mask(sl_error *err) {
    const char *mask = cpu_mask_text();
    sl_isa isa;
    if (mask == NULL || sl_isa_from_name(mask, &isa)) {
        return SL_OK;
    }
    return SL_FAIL(
        err, SL_ERR_ARGUMENT,
        "SLUICE_CPU_MASK is '%.64s'; it must be one of ref, avx2, avxvnni, avx512, avx512vnni, "
        "avx512bf16, amx",
        mask);
}

const char *sl_cpu_features(void) {
    cpu_init();
    return g_cpu.features;
}

const char *sl_cpu_model(void) {
    cpu_init();
    return g_cpu.model;
}
