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

add_library(qdial_native INTERFACE)
if(QDIAL_NATIVE AND NOT CMAKE_CROSSCOMPILING)
  target_compile_options(qdial_native INTERFACE -march=native)
endif()
