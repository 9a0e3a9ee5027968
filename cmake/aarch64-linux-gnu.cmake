# SPDX-License-Identifier: Apache-2.0
#
# Cross toolchain: Debian's aarch64 g++; programs are linked statically so that qemu's user
# emulator runs them without an Arm root file system.
set(CMAKE_SYSTEM_NAME Linux)
set(CMAKE_SYSTEM_PROCESSOR aarch64)
set(CMAKE_CXX_COMPILER aarch64-linux-gnu-g++)
set(CMAKE_CXX_FLAGS_INIT -Wno-psabi)  # notes about an ABI change of gcc 10.1
set(CMAKE_EXE_LINKER_FLAGS_INIT -static)
set(CMAKE_CROSSCOMPILING_EMULATOR qemu-aarch64-static)

# xsimd is headers only, but Debian files its package under the host's architecture.
if(NOT xsimd_DIR)
  file(GLOB qdial_xsimd_dirs /usr/lib/*/cmake/xsimd /usr/share/cmake/xsimd)
  if(qdial_xsimd_dirs)
    list(GET qdial_xsimd_dirs 0 xsimd_DIR)
  endif()
endif()
