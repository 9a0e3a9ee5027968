# SPDX-License-Identifier: Apache-2.0
#
# What qdial's own programs (tool, tests, benchmarks) are built with. None of it is part of the
# qdial::qdial target, so none of it reaches a program of a user.

if(PROJECT_IS_TOP_LEVEL AND NOT CMAKE_BUILD_TYPE AND NOT CMAKE_CONFIGURATION_TYPES)
  set(CMAKE_BUILD_TYPE Release CACHE STRING "Build type" FORCE)
endif()

# All programs side by side: build/<preset>/bin/qdial.
set(CMAKE_RUNTIME_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR}/bin)

add_library(qdial_warnings INTERFACE)
target_compile_options(qdial_warnings INTERFACE
  -Wall -Wextra -Wconversion -Wshadow -Wpedantic $<$<BOOL:${QDIAL_WERROR}>:-Werror>)
# gcc 12 sees overlapping copies in every `"text" + std::string` (its bug 105651).
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU" AND CMAKE_CXX_COMPILER_VERSION VERSION_LESS 13)
  target_compile_options(qdial_warnings INTERFACE -Wno-restrict)
endif()

# What goes with flags that turn on AVX-512: gcc 12 warns of its own intrinsics, which start from a
# register of any content (its bug 105593, mended in 13).
set(qdial_avx512_warning_flags "")
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU" AND CMAKE_CXX_COMPILER_VERSION VERSION_LESS 13)
  set(qdial_avx512_warning_flags -Wno-uninitialized -Wno-maybe-uninitialized)
endif()

add_library(qdial_native INTERFACE)
if(QDIAL_NATIVE AND NOT CMAKE_CROSSCOMPILING)
  include(CheckCXXSourceCompiles)
  set(CMAKE_REQUIRED_FLAGS -march=native)
  check_cxx_source_compiles("
    #ifndef __AVX512F__
    #error
    #endif
    int main() {}" qdial_native_has_avx512)
  unset(CMAKE_REQUIRED_FLAGS)
  target_compile_options(qdial_native INTERFACE -march=native
    $<$<BOOL:${qdial_native_has_avx512}>:${qdial_avx512_warning_flags}>)
endif()
