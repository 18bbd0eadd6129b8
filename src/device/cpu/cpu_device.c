#include "device/cpu/cpu_device.h"

#include "base/alloc.h"
#include "base/cpu.h"
#include "base/error.h"
#include "device/cpu/cpu_program.h"

static void cpu_device_free(sl_device *d) {
    struct sl_cpu_device *c = (struct sl_cpu_device *)d;
    if (c != NULL) {
        sl_pool_free(c->pool);
        sl_free(c);
    }
}

static const sl_device_ops cpu_ops = {
    .name = "cpu",
    .free = cpu_device_free,
    .estimate = sl_cpu_program_estimate,
    .compile = sl_cpu_program_compile,
    .prepare = sl_cpu_weights_prepare,
    .settle = sl_cpu_weights_settle,
    .ready_bytes = sl_cpu_weights_ready_bytes,
    .wants_all = sl_cpu_weights_wants_all,
    .store = sl_cpu_weights_store,
    .program_free = sl_cpu_program_free,
    .run = sl_cpu_program_run,
    .copy_page = sl_cpu_program_copy_page,
};

sl_status sl_cpu_device_create(uint32_t n_threads, bool pin, const sl_topology *topology,
                               sl_device **out, sl_error *err) {
    struct sl_cpu_device *c = sl_alloc_zero(1, sizeof(*c));
    if (c == NULL) {
        return SL_FAIL(err, SL_ERR_MEMORY, "no memory for the CPU device");
    }
    c->device.ops = &cpu_ops;
    sl_kernels_init(&c->kernels, sl_cpu_isa());
    uint32_t n_cores = sl_cpu_count_physical();
    n_cores = n_cores < SL_POOL_THREADS_MAX ? n_cores : SL_POOL_THREADS_MAX;
    c->n_threads = n_threads == 0 ? n_cores : n_threads;
    c->pin = pin;
    if (topology != NULL) {
        c->topology = *topology;
    } else {
        sl_topology_read(&c->topology);
    }
    *out = &c->device;
    return SL_OK;
}

sl_pool *sl_cpu_device_pool(const sl_device *d) {
    return ((const struct sl_cpu_device *)d)->pool;
}

const sl_kernels *sl_cpu_device_kernels(const sl_device *d) {
    return &((const struct sl_cpu_device *)d)->kernels;
}
