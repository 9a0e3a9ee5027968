# SPDX-License-Identifier: Apache-2.0
#
# The backend that the flags for a CPU select. COMPILER, ROOT, PROCESSOR.
if(PROCESSOR MATCHES "^(x86_64|AMD64)$")
  set(cpus
    x86-64=generic x86-64-v2=sse4 x86-64-v3=avx2 x86-64-v4=avx512
    nehalem=sse4 sandybridge=sse4 haswell=avx2 skylake=avx2 znver1=avx2 znver3=avx2
    alderlake=avx2_vnni
    skylake-avx512=avx512 cascadelake=avx512_vnni icelake-server=avx512_vnni
    sapphirerapids=avx512_vnni znver4=avx512_vnni)
else()
  set(cpus armv8-a=neon armv8.2-a+dotprod=neon_dotprod neoverse-n2=neon_i8mm apple-m1=neon_dotprod)
endif()

set(tried 0)
foreach(entry IN LISTS cpus)
  string(REGEX MATCH "^(.*)=(.*)$" _ ${entry})
  set(cpu ${CMAKE_MATCH_1})
  set(backend ${CMAKE_MATCH_2})
  execute_process(COMMAND ${COMPILER} -march=${cpu} -E -x c++ /dev/null
    RESULT_VARIABLE unknown OUTPUT_QUIET ERROR_QUIET)
  if(NOT unknown EQUAL 0)
    message(STATUS "not tried: ${COMPILER} does not know -march=${cpu}")
    continue()
  endif()
  math(EXPR tried "${tried} + 1")
  execute_process(
    COMMAND ${COMPILER} -std=c++20 -march=${cpu} -fsyntax-only -I${ROOT}/include
      -DEXPECTED_BACKEND="${backend}" ${CMAKE_CURRENT_LIST_DIR}/backend_of_cpu.cpp
    RESULT_VARIABLE status ERROR_VARIABLE errors)
  if(NOT status EQUAL 0)
    message(FATAL_ERROR "-march=${cpu} does not select the backend ${backend}:\n${errors}")
  endif()
endforeach()
if(tried EQUAL 0)
  message(FATAL_ERROR "${COMPILER} knows none of the CPUs")
endif()
