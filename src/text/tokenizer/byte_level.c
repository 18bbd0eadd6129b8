/* The 256 code points by which byte-level vocabularies write bytes: printable Latin-1 stands for
 * itself, the other bytes for U+0100 and up, in order (Radford et al., GPT-2, 2019). Constant; any
 * thread. */
#include "text/tokenizer/tokenizer_internal.h"

static bool byte_is_itself(uint32_t byte) {
    return (byte >= 0x21 && byte <= 0x7E) || (byte >= 0xA1 && byte <= 0xAC) || byte >= 0xAE;
}

/* Bytes that do not stand for themselves are, in order, 00-20, 7F-A0 and AD. */
uint32_t sl_byte_level_code(uint8_t byte) {
    if (byte_is_itself(byte)) {
        return byte;
    }
    return byte <= 0x20 ? 0x100u + byte : byte <= 0xA0 ? 0x121u + (byte - 0x7Fu) : 0x143u;
}

int sl_byte_level_byte(uint32_t code) {
    if (code < 0x100) {
        return byte_is_itself(code) ? (int)code : -1;
    }
    if (code <= 0x120) {
        return (int)(code - 0x100);
    }
    if (code <= 0x142) {
        return (int)(code - 0x121 + 0x7F);
    }
    return code == 0x143 ? 0xAD : -1;
}
