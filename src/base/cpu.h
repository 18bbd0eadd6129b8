/* What the processor can do: CPUID and XGETBV, once, masked by the environment variable
 * SLUICE_CPU_MASK. */
#ifndef SL_BASE_CPU_H
#define SL_BASE_CPU_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <sluice/status.h>

#define SL_CPUS_MAX 8192 /* as large as Linux can be configured for */

/* Bundles of instruction sets; each but AVXVNNI includes all before it. */
typedef enum sl_isa {
    SL_ISA_REF = 0,        /* plain C at the build's baseline (x86-64-v2) */
    SL_ISA_AVX2 = 1,       /* AVX2, FMA, F16C, BMI2 */
    SL_ISA_AVXVNNI = 2,    /* AVX2 + AVX-VNNI (256 bit) */
    SL_ISA_AVX512 = 3,     /* F, BW, DQ, VL, CD (VNNI of 256 bit not implied) */
    SL_ISA_AVX512VNNI = 4, /* + VNNI */
    SL_ISA_AVX512BF16 = 5, /* + BF16 */
    SL_ISA_AMX = 6,        /* + AMX tile, int8, bf16 (needs the kernel's permission) */
    SL_ISA_COUNT = 7
} sl_isa;

const char *sl_isa_name(sl_isa isa);                  /* "ref", "avx2", ... */
bool sl_isa_from_name(const char *name, sl_isa *out); /* false for an unknown name */
/* The highest level of this machine, after the mask: SLUICE_CPU_MASK=avx2 means none above it. */
sl_isa sl_cpu_isa(void);
/* The highest level of the hardware, mask ignored. */
sl_isa sl_cpu_isa_hardware(void);
bool sl_cpu_has(sl_isa isa); /* the level can run here (mask ignored); AVXVNNI is a side branch */
/* SL_ERR_ARGUMENT with the list of names if SLUICE_CPU_MASK holds something else. To be called by
 * cmd. */
SL_NODISCARD sl_status sl_cpu_check_mask(sl_error *err);
/* Human-readable list of relevant features ("avx2 fma f16c avx512f ..."), static string. */
const char *sl_cpu_features(void);
/* Model name from CPUID ("AMD EPYC ..."), static string. */
const char *sl_cpu_model(void);

/* Logical CPUs this process may use: affinity and cgroup quota (v1 and v2), rounded up, at least 1;
 * and physical cores among them. */
uint32_t sl_cpu_count_logical(void);
uint32_t sl_cpu_count_physical(void);
/* Fills `cpus` with the numbers of the allowed logical CPUs, one of every physical core first, then
 * their siblings; returns how many were written (at most `max`). For pinning. */
uint32_t sl_cpu_list(uint32_t *cpus, uint32_t max);
/* Memory this process may use now: the smaller of MemAvailable and what its cgroups leave. */
uint64_t sl_memory_available_bytes(void);
uint64_t sl_memory_resident_bytes(void); /* RSS of this process */

#endif
