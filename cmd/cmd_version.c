/* sluice version: what this program is, and what it makes of the processor it runs on. */
#include <inttypes.h>
#include <stdio.h>

#include "base/cpu.h"
#include "base/topology.h"
#include "cmd.h"
#include "flags.h"
#include "kernels/kernels.h"

#ifndef SLUICE_VERSION
#error "SLUICE_VERSION is set by the build"
#endif

static void print_kernel(void *user, const char *entry, sl_isa isa) {
    (void)user;
    (void)printf("  %-20s %s\n", entry, sl_isa_name(isa));
}

static void print_nodes(void) {
    sl_topology t;
    sl_topology_read(&t);
    for (uint32_t i = 0; i < t.n_nodes; i++) {
        const sl_topology_node *node = &t.nodes[i];
        (void)printf(
            "%-11s node %" PRIu32 ": %" PRIu32 " cores, %" PRIu32 " CPUs, %" PRIu64 " MB%s\n",
            i == 0 ? "topology" : "", node->number, node->n_cores, node->cpu_end - node->cpu_begin,
            node->memory_bytes >> 20, t.simulated ? " (simulated)" : "");
    }
}

int sl_cmd_version(int argc, char **argv) {
    bool verbose = false;
    const sl_flag flags[] = {
        {"--verbose", "-v", SL_FLAG_BOOL, &verbose, NULL,
         "Also show the processor and the kernels chosen.", 0, 0, NULL},
    };
    const sl_command command = {"version",
                                "sluice version [--verbose]",
                                "Shows the version; with --verbose also the processor, its "
                                "features and the kernels chosen for it.",
                                "  sluice version --verbose\n",
                                flags,
                                1,
                                0,
                                0};
    int code = sl_flags_parse(&command, argc, argv, NULL);
    if (code != SL_FLAGS_GO_ON) {
        return code;
    }
    (void)printf("sluice %s\n", SLUICE_VERSION);
    if (!verbose) {
        return sl_stdout_finish("version", SL_EXIT_OK);
    }
    sl_kernels kernels;
    sl_kernels_init(&kernels, sl_cpu_isa());
    (void)printf("compiler    %s\n", __VERSION__);
    (void)printf("processor   %s\n", sl_cpu_model());
    (void)printf("features    %s\n", sl_cpu_features());
    (void)printf("cores       %" PRIu32 " physical, %" PRIu32 " logical usable\n",
                 sl_cpu_count_physical(), sl_cpu_count_logical());
    (void)printf("memory      %" PRIu64 " MB available\n", sl_memory_available_bytes() >> 20);
    print_nodes();
    (void)printf("level       %s (the hardware has %s)\n", sl_isa_name(sl_cpu_isa()),
                 sl_isa_name(sl_cpu_isa_hardware()));
    (void)printf("kernels\n");
    sl_kernels_describe(&kernels, print_kernel, NULL);
    return sl_stdout_finish("version", SL_EXIT_OK);
}
