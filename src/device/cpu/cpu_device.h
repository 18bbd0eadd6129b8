/* The CPU as a device: kernel table of the best ISA level, and the compute pool. */
#ifndef SL_DEVICE_CPU_CPU_DEVICE_H
#define SL_DEVICE_CPU_CPU_DEVICE_H

#include "device/device.h"

typedef struct sl_cpu_device sl_cpu_device;

/* n_threads counts the calling thread; 0: physical cores within affinity and quota. topology: NULL
 * for this machine's; copied. Starts no thread: that is done when a plan is compiled. */
SL_NODISCARD sl_status sl_cpu_device_create(uint32_t n_threads, bool pin,
                                            const sl_topology *topology, sl_device **out,
                                            sl_error *err);

/* NULL before the first program. The pool is idle between runs and may be used for other parallel
 * work by the device's thread. */
sl_pool *sl_cpu_device_pool(const sl_device *d);
const sl_kernels *sl_cpu_device_kernels(const sl_device *d);

#endif
