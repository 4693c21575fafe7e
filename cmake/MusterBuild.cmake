# Flags, sanitizers and the three functions every room uses: muster_room, muster_test, muster_fuzz.

set(CMAKE_C_STANDARD 17)
set(CMAKE_C_STANDARD_REQUIRED ON)
set(CMAKE_C_EXTENSIONS OFF)
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)
set(CMAKE_POSITION_INDEPENDENT_CODE ON)
set(CMAKE_C_VISIBILITY_PRESET hidden)
if(NOT CMAKE_BUILD_TYPE)
    set(CMAKE_BUILD_TYPE Release)
endif()
set(CMAKE_C_FLAGS_RELEASE "-O3") # no -DNDEBUG: MST_ASSERT stays on; no -march=native: kernels dispatch at run time

set(MUSTER_SANITIZE "" CACHE STRING "Sanitizers, e.g. address,undefined or thread")
option(MUSTER_WERROR "Treat warnings as errors (CI)" OFF)
option(MUSTER_LTO "Link-time optimisation" OFF)
option(MUSTER_FUZZ "Build the fuzz targets with libFuzzer (clang)" OFF)

find_package(PkgConfig REQUIRED)
find_package(Threads REQUIRED)
pkg_check_modules(LIBEVENT REQUIRED IMPORTED_TARGET libevent libevent_pthreads)
pkg_check_modules(PROTOBUF_C REQUIRED IMPORTED_TARGET libprotobuf-c)
pkg_check_modules(JANSSON REQUIRED IMPORTED_TARGET jansson)
pkg_check_modules(OPENBLAS REQUIRED IMPORTED_TARGET openblas)
pkg_check_modules(ZLIB REQUIRED IMPORTED_TARGET zlib)
pkg_check_modules(XXHASH REQUIRED IMPORTED_TARGET libxxhash)

# What every target of ours is compiled with; generated code gets none of the warnings.
add_library(muster_flags INTERFACE)
target_compile_definitions(muster_flags INTERFACE _GNU_SOURCE MUSTER_VERSION="${PROJECT_VERSION}")
target_include_directories(muster_flags INTERFACE ${CMAKE_SOURCE_DIR} ${CMAKE_SOURCE_DIR}/common ${CMAKE_SOURCE_DIR}/include)
# -ffp-contract=off: the same bits with and without FMA in the instruction set (DESIGN: kernels).
target_compile_options(muster_flags INTERFACE -ffp-contract=off)
add_library(muster_warnings INTERFACE)
target_compile_options(muster_warnings INTERFACE
    -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wstrict-prototypes -Wmissing-prototypes -Wvla
    -Wdouble-promotion -Wundef -Wwrite-strings -Wno-format-zero-length -Wno-format-truncation -fno-common $<$<BOOL:${MUSTER_WERROR}>:-Werror>)
if(MUSTER_SANITIZE)
    add_compile_options(-fsanitize=${MUSTER_SANITIZE} -fno-sanitize-recover=all -fno-omit-frame-pointer -g)
    add_link_options(-fsanitize=${MUSTER_SANITIZE})
endif()
if(MUSTER_LTO)
    set(CMAKE_INTERPROCEDURAL_OPTIMIZATION ON)
endif()

# Options of a file of kernels. GCC's AddressSanitizer puts locals on a stack of its own that is not aligned for vectors of 64
# bytes when it looks for uses after return; in kernels, which keep no address of a local, it does not.
set(MUSTER_KERNEL_OPTIONS -O3 -fno-math-errno)
if(MUSTER_SANITIZE MATCHES "address" AND CMAKE_C_COMPILER_ID STREQUAL "GNU")
    list(APPEND MUSTER_KERNEL_OPTIONS --param asan-use-after-return=0)
endif()

# muster_room(NAME SOURCES a.c b.c… LINKS muster_base PkgConfig::X…)
# A static library muster_NAME. LINKS is the whole list of what the room may use (tools/check-layers reads includes).
function(muster_room name)
    cmake_parse_arguments(ROOM "" "" "SOURCES;LINKS" ${ARGN})
    add_library(muster_${name} STATIC ${ROOM_SOURCES})
    target_link_libraries(muster_${name} PUBLIC muster_flags ${ROOM_LINKS} PRIVATE muster_warnings)
endfunction()

# muster_test(NAME SOURCES… LINKS… [LABELS unit] [TIMEOUT 60]): one cmocka executable, one process, one time limit.
function(muster_test name)
    cmake_parse_arguments(TEST "" "TIMEOUT" "SOURCES;LINKS;LABELS;ARGS" ${ARGN})
    if(NOT TEST_TIMEOUT)
        set(TEST_TIMEOUT 60)
    endif()
    if(NOT TEST_LABELS)
        set(TEST_LABELS unit)
    endif()
    add_executable(${name} ${TEST_SOURCES})
    target_link_libraries(${name} PRIVATE ${TEST_LINKS} muster_testlib muster_warnings)
    add_test(NAME ${name} COMMAND ${name} ${TEST_ARGS})
    set_tests_properties(${name} PROPERTIES TIMEOUT ${TEST_TIMEOUT} LABELS "${TEST_LABELS}")
endfunction()

# muster_fuzz(PARSER LINKS…): tests/fuzz/fuzz_PARSER.c; with MUSTER_FUZZ a libFuzzer program, else a replay of
# tests/fuzz/corpus/PARSER under ctest.
function(muster_fuzz parser)
    cmake_parse_arguments(FUZZ "" "" "LINKS" ${ARGN})
    set(target fuzz_${parser})
    if(MUSTER_FUZZ)
        add_executable(${target} ${target}.c)
        target_link_options(${target} PRIVATE -fsanitize=fuzzer)
    else()
        add_executable(${target} ${target}.c ${CMAKE_SOURCE_DIR}/tests/lib/fuzz_replay.c)
        add_test(NAME ${target} COMMAND ${target} ${CMAKE_SOURCE_DIR}/tests/fuzz/corpus/${parser})
        set_tests_properties(${target} PROPERTIES TIMEOUT 120 LABELS fuzz)
    endif()
    target_link_libraries(${target} PRIVATE ${FUZZ_LINKS} muster_flags muster_warnings)
endfunction()
