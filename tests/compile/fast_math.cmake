# SPDX-License-Identifier: Apache-2.0
#
# Every header refuses -ffast-math, and says why. COMPILER, ROOT, HEADERS (a list).
set(wrong "")
foreach(header IN LISTS HEADERS)
  if(header MATCHES "^qdial/(version|macros_begin|macros_end).hpp$")
    continue()  # macros only
  endif()
  execute_process(
    COMMAND ${COMPILER} -std=c++20 -ffast-math -E -I${ROOT}/include -x c++ ${ROOT}/include/${header}
    RESULT_VARIABLE status OUTPUT_QUIET ERROR_VARIABLE errors)
  if(status EQUAL 0)
    string(APPEND wrong "\n  ${header} compiles with -ffast-math: it does not include config.hpp")
  elseif(NOT errors MATCHES "qdial: -ffast-math [^\n]*breaks bit-exact quantization")
    string(APPEND wrong "\n  ${header} fails with -ffast-math for another reason:\n${errors}")
  endif()
endforeach()
if(wrong)
  message(FATAL_ERROR "${wrong}")
endif()
