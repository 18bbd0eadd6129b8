# Instruction sets. Only files of src/kernels/x86 may use more than the baseline, each by the ending
# of its name; the table is filled at run time with what the processor has (src/base/cpu.h).
#
# Code that refers to those files asks `defined(__x86_64__) && !defined(SLUICE_GENERIC)`.
string(TOLOWER "${CMAKE_SYSTEM_PROCESSOR}" cpu)
if(cpu MATCHES "^(x86_64|amd64)$" AND NOT SLUICE_GENERIC)
    target_compile_options(sluice_flags INTERFACE -march=x86-64-v2)
else()
    list(FILTER SLUICE_SOURCES EXCLUDE REGEX "/kernels/x86/")
    target_compile_definitions(sluice_flags INTERFACE SLUICE_GENERIC)
endif()

set(ISA_avx2 -mavx2 -mfma -mf16c -mbmi2)
set(ISA_avxvnni ${ISA_avx2} -mavxvnni)
set(ISA_avx512 ${ISA_avx2} -mavx512f -mavx512bw -mavx512dq -mavx512vl -mavx512cd
    -mprefer-vector-width=512)
set(ISA_avx512vnni ${ISA_avx512} -mavx512vnni)
set(ISA_avx512bf16 ${ISA_avx512vnni} -mavx512bf16)
set(ISA_amx ${ISA_avx512bf16} -mamx-tile -mamx-int8 -mamx-bf16)

foreach(source ${SLUICE_SOURCES})
    if(source MATCHES "/(kernels|quant)/") # quant: what packing reads weights with
        set(options "")
        if(NOT SLUICE_SANITIZE AND NOT CMAKE_BUILD_TYPE STREQUAL "Debug")
            # Not with sanitizers: checks in kernels this unrolled take minutes to compile.
            set(options -O3)
        endif()
        if(source MATCHES "/x86/.*_(avx2|avxvnni|avx512|avx512vnni|avx512bf16|amx)\\.c$")
            list(APPEND options ${ISA_${CMAKE_MATCH_1}})
            if(SLUICE_SANITIZE MATCHES "undefined")
                # Checks of every pointer: they double the time to compile, and the address
                # sanitizer sees what matters of them.
                list(APPEND options -fno-sanitize=null,alignment,object-size)
            endif()
        endif()
        set_source_files_properties(${source} PROPERTIES COMPILE_OPTIONS "${options}")
    endif()
endforeach()
