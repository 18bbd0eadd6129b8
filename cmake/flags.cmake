# Warnings, hardening and sanitizers, as the interface target `sluice_flags`.
#
# -ffp-contract=off: a product and a sum are fused only where the code says fma, so that the same
# source gives the same numbers with both compilers at every level.
add_library(sluice_flags INTERFACE)
target_compile_options(sluice_flags INTERFACE
    -Wall -Wextra -Wshadow -Wundef -Wstrict-prototypes -Wmissing-prototypes -Wvla -Wpointer-arith
    -Wcast-qual -Wwrite-strings
    -fno-strict-aliasing -ffp-contract=off -fno-math-errno -fstack-protector-strong
    -ffile-prefix-map=${CMAKE_SOURCE_DIR}/=)
target_link_options(sluice_flags INTERFACE -Wl,--as-needed -Wl,-z,relro -Wl,-z,now)
if(SLUICE_WERROR)
    target_compile_options(sluice_flags INTERFACE -Werror)
endif()

if(SLUICE_SANITIZE)
    target_compile_options(sluice_flags INTERFACE
        -fsanitize=${SLUICE_SANITIZE} -fno-sanitize-recover=all -fno-omit-frame-pointer -g)
    target_link_options(sluice_flags INTERFACE -fsanitize=${SLUICE_SANITIZE})
elseif(CMAKE_BUILD_TYPE STREQUAL "Release")
    target_compile_options(sluice_flags INTERFACE -D_FORTIFY_SOURCE=2)
endif()
if(SLUICE_FUZZ)
    if(NOT CMAKE_C_COMPILER_ID MATCHES "Clang")
        message(FATAL_ERROR "SLUICE_FUZZ needs clang: use the preset 'fuzz'.")
    endif()
    # Coverage feedback in the library; the fuzz targets themselves bring the driver.
    target_compile_options(sluice_flags INTERFACE -fsanitize=fuzzer-no-link)
endif()
