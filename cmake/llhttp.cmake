# The target `llhttp`: the HTTP/1.1 parser, as <llhttp.h>.
#
# In this order: SLUICE_LLHTTP_DIR (a directory with include/ and src/), the system's library where
# it is version 9 or later, the pinned source package (tools/fetch.py, cached), Debian's node-llhttp.
set(SLUICE_LLHTTP_DIR "" CACHE PATH "llhttp sources (include/llhttp.h, src/*.c); empty: find them")

function(sluice_llhttp_from_sources include_dir source_dir)
    add_library(llhttp STATIC ${source_dir}/api.c ${source_dir}/http.c ${source_dir}/llhttp.c)
    target_include_directories(llhttp SYSTEM PUBLIC ${include_dir})
    # Generated code: its warnings are not ours, and its tables of gotos are slow to instrument.
    target_compile_options(llhttp PRIVATE -w)
endfunction()

if(SLUICE_LLHTTP_DIR)
    sluice_llhttp_from_sources(${SLUICE_LLHTTP_DIR}/include ${SLUICE_LLHTTP_DIR}/src)
    set(llhttp_origin ${SLUICE_LLHTTP_DIR})
else()
    pkg_check_modules(LLHTTP QUIET IMPORTED_TARGET libllhttp>=9.0)
    if(LLHTTP_FOUND)
        add_library(llhttp INTERFACE)
        target_link_libraries(llhttp INTERFACE PkgConfig::LLHTTP)
        set(llhttp_origin "the system, ${LLHTTP_VERSION}")
    else()
        find_package(Python3 REQUIRED COMPONENTS Interpreter)
        execute_process(COMMAND ${Python3_EXECUTABLE} ${CMAKE_SOURCE_DIR}/tools/fetch.py llhttp
                        OUTPUT_VARIABLE llhttp_origin OUTPUT_STRIP_TRAILING_WHITESPACE
                        RESULT_VARIABLE llhttp_result)
        if(llhttp_result EQUAL 0)
            sluice_llhttp_from_sources(${llhttp_origin}/include ${llhttp_origin}/src)
        elseif(EXISTS /usr/share/llhttp/llhttp.c)
            set(llhttp_origin "Debian's node-llhttp")
            message(WARNING "llhttp 9.4 could not be fetched; using Debian's node-llhttp, which is "
                            "less strict about folded headers and spaces before a colon")
            sluice_llhttp_from_sources(/usr/include/llhttp /usr/share/llhttp)
        else()
            message(FATAL_ERROR "llhttp could not be fetched (see above). Set SLUICE_LLHTTP_DIR, or "
                                "install libllhttp-dev or node-llhttp, and configure again.")
        endif()
    endif()
endif()
message(STATUS "llhttp: ${llhttp_origin}")
