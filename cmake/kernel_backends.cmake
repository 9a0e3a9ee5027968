# SPDX-License-Identifier: Apache-2.0
#
# Kernel tests are compiled once per backend with exactly that backend's flags, whatever the
# machine that builds them. A program whose backend the CPU lacks says so and exits with 77.
include(CheckCXXCompilerFlag)

set(qdial_avx2_flags -mavx2 -mfma -mf16c)
set(qdial_avx512_flags -mavx512f -mavx512bw -mavx512dq -mavx512vl ${qdial_avx2_flags}
  ${qdial_avx512_warning_flags})

set(qdial_backends generic)
# Forced inlining of kernels on arrays takes an optimiser minutes; tests/flags_matrix.sh has -O3.
set(qdial_backend_flags_generic -DQDIAL_FORCE_GENERIC -O1)
if(NOT CMAKE_CROSSCOMPILING)
  # The scalar definition and all emulated widths: so many kernels on arrays that it is the
  # compiler's time that counts.
  list(APPEND qdial_backends emulated)
  set(qdial_backend_flags_emulated -DQDIAL_FORCE_GENERIC -DQDIAL_COMPILER_INLINES -O1)
endif()
if(CMAKE_SYSTEM_PROCESSOR MATCHES "^(x86_64|AMD64)$")
  set(qdial_backend_flags_sse4 -msse4.2)
  set(qdial_backend_flags_avx2 ${qdial_avx2_flags})
  set(qdial_backend_flags_avx512 ${qdial_avx512_flags})
  set(qdial_backend_flags_avx512_vnni ${qdial_avx512_flags} -mavx512vnni)
  list(APPEND qdial_backends sse4 avx2 avx512 avx512_vnni)

  # The tiles of AMX are tested beside the backend that they extend, where the processor has them.
  check_cxx_compiler_flag(-mamx-int8 qdial_compiler_has_amx)
  if(qdial_compiler_has_amx)
    list(APPEND qdial_backend_flags_avx512_vnni -mamx-tile -mamx-int8)
  endif()
  check_cxx_compiler_flag(-mavxvnni qdial_compiler_has_avxvnni)
  if(qdial_compiler_has_avxvnni)
    set(qdial_backend_flags_avx2_vnni ${qdial_avx2_flags} -mavxvnni)
    list(APPEND qdial_backends avx2_vnni)
  else()
    message(WARNING "The compiler knows no -mavxvnni: backend avx2_vnni is not tested")
  endif()
elseif(CMAKE_SYSTEM_PROCESSOR MATCHES "^(aarch64|arm64)$")
  set(qdial_backend_flags_neon "")  # part of the architecture
  set(qdial_backend_flags_neon_dotprod -march=armv8.2-a+dotprod)
  set(qdial_backend_flags_neon_i8mm -march=armv8.2-a+dotprod+i8mm)
  list(APPEND qdial_backends neon neon_dotprod neon_i8mm)
endif()

# qdial_add_kernel_tests(SOURCE...): for every backend a program kernel_tests_BACKEND from all the
# sources, and for every source a test NAME.BACKEND that runs its cases.
function(qdial_add_kernel_tests)
  foreach(backend IN LISTS qdial_backends)
    set(program kernel_tests_${backend})
    # The object library keeps the backend's flags away from main: that must run on any CPU.
    add_library(${program}_objects OBJECT ${ARGN})
    target_compile_options(${program}_objects PRIVATE ${qdial_backend_flags_${backend}})
    target_link_libraries(${program}_objects PRIVATE qdial_test_settings)
    target_compile_definitions(${program}_objects PRIVATE QDIAL_TEST_BACKEND="${backend}")

    add_executable(${program} cpu_check.cpp)
    target_compile_definitions(${program} PRIVATE QDIAL_TEST_BACKEND_${backend}
      QDIAL_TEST_BACKEND="${backend}")
    target_link_libraries(${program} PRIVATE ${program}_objects qdial_test_main)

    foreach(source IN LISTS ARGN)
      get_filename_component(name ${source} NAME_WE)
      add_test(NAME ${name}.${backend} COMMAND ${program} ${qdial_catch_options} "[#${name}]")
      set_tests_properties(${name}.${backend} PROPERTIES LABELS kernel SKIP_RETURN_CODE 77)
    endforeach()
  endforeach()
endfunction()
