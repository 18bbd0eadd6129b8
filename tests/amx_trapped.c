/* The machine code of level amx on a processor that has all of it but AMX: its tile instructions
 * raise SIGILL, and the handler does what they would, with the emulated tiles. So what a compiler
 * makes of the tile words is checked, too: which memory they read, and when. */
#define _GNU_SOURCE
#include "amx_emulated.h"
#include "amx_table.h"

#include <signal.h>
#include <ucontext.h>
#include <unistd.h>

#include "kernels/levels.h"

/* The processor's numbers of the general registers. */
static const int general[16] = {REG_RAX, REG_RCX, REG_RDX, REG_RBX, REG_RSP, REG_RBP,
                                REG_RSI, REG_RDI, REG_R8,  REG_R9,  REG_R10, REG_R11,
                                REG_R12, REG_R13, REG_R14, REG_R15};

/* An instruction with a VEX prefix of three bytes (Intel SDM vol. 2, 2.3 and 2.1.5): C4, then
 * R X B (inverted) and the map, then W, a register (inverted), L and the prefix; opcode; ModRM. */
typedef struct instruction {
    uint32_t map, prefix, opcode;
    uint32_t reg, vex_reg, rm; /* tiles, or parts of the opcode */
    bool in_memory;            /* the operand of ModRM */
    uint8_t *base;             /* of that: with the displacement, */
    size_t index;              /* and what is added, of tiles for each row */
    const uint8_t *next;
} instruction;

static void decode_memory(const greg_t *registers, uint32_t x, uint32_t b, uint32_t mod,
                          instruction *out) {
    uint32_t base = out->rm;
    if (base == 4) { /* a SIB byte follows: scale, index, base */
        const uint32_t sib = *out->next++, index = (sib >> 3 & 7) | x;
        base = sib & 7;
        out->index = index == 4 ? 0 : (size_t)registers[general[index]] << (sib >> 6);
    }
    emulated_require(mod != 0 || base != 5, "an address without a base register");
    int32_t displacement = 0;
    if (mod == 1) {
        displacement = (int8_t)*out->next++;
    } else if (mod == 2) {
        memcpy(&displacement, out->next, sizeof(displacement));
        out->next += sizeof(displacement);
    }
    out->base = (uint8_t *)registers[general[base | b]] + displacement;
}

static bool decode(const uint8_t *at, const greg_t *registers, instruction *out) {
    if (at[0] != 0xC4) {
        return false;
    }
    const uint32_t mod = at[4] >> 6, x = at[1] & 0x40 ? 0 : 8, b = at[1] & 0x20 ? 0 : 8;
    *out = (instruction){.map = at[1] & 31,
                         .prefix = at[2] & 3,
                         .opcode = at[3],
                         .reg = at[4] >> 3 & 7,
                         .vex_reg = ~(uint32_t)at[2] >> 3 & 15,
                         .rm = at[4] & 7,
                         .in_memory = mod != 3,
                         .next = at + 5};
    if (out->in_memory) {
        decode_memory(registers, x, b, mod, out);
    }
    return true;
}

enum { PREFIX_NONE, PREFIX_66, PREFIX_F3, PREFIX_F2 };

static bool execute(const instruction *i) {
    if (i->map != 2) {
        return false;
    }
    switch (i->opcode << 8 | i->prefix << 4 | (i->in_memory ? 1 : 0)) {
    case 0x49 << 8 | PREFIX_NONE << 4 | 1:
        emulated_configure((const amx_config *)(const void *)(i->base + i->index));
        return true;
    case 0x49 << 8 | PREFIX_NONE << 4:
        emulated_release();
        return true;
    case 0x49 << 8 | PREFIX_F2 << 4:
        emulated_zero(i->reg);
        return true;
    case 0x4B << 8 | PREFIX_F2 << 4 | 1:
    case 0x4B << 8 | PREFIX_66 << 4 | 1: /* streaming */
        emulated_load(i->reg, i->base, i->index);
        return true;
    case 0x4B << 8 | PREFIX_F3 << 4 | 1:
        emulated_store(i->reg, i->base, i->index);
        return true;
    case 0x5C << 8 | PREFIX_F3 << 4:
        emulated_dot(i->reg, i->rm, i->vex_reg);
        return true;
    default:
        return false;
    }
}

static void on_illegal(int signal_number, siginfo_t *info, void *context) {
    (void)signal_number, (void)info;
    greg_t *registers = ((ucontext_t *)context)->uc_mcontext.gregs;
    instruction i = {0};
    emulated_require(decode((const uint8_t *)registers[REG_RIP], registers, &i) && execute(&i),
                     "another illegal instruction");
    registers[REG_RIP] = (greg_t)i.next;
}

void sl_amx_fill_trapped(sl_kernels *k) {
    const struct sigaction action = {.sa_sigaction = on_illegal, .sa_flags = SA_SIGINFO};
    emulated_require(sigaction(SIGILL, &action, NULL) == 0, "SIGILL cannot be caught");
    sl_product_amx_fill_amx(k);
    sl_attend_amx_fill_amx(k);
}
