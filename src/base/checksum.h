/* A 64-bit checksum of bytes that leave the process: it finds damage and change, and resists no
 * attacker. Reads memory about as fast as it can be read. */
#ifndef SL_BASE_CHECKSUM_H
#define SL_BASE_CHECKSUM_H

#include <stddef.h>
#include <stdint.h>

/* The same on every machine of this byte order. Different seeds give independent sums; a sum as the
 * seed of the next makes a chain. */
uint64_t sl_checksum(const void *data, size_t n, uint64_t seed);

#endif
