# SPDX-License-Identifier: Apache-2.0
#
# `cmake --install`: the headers and a package for find_package(qdial).
include(CMakePackageConfigHelpers)
include(GNUInstallDirs)

set(qdial_package_dir ${CMAKE_INSTALL_DATADIR}/cmake/qdial)

install(DIRECTORY include/qdial DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
install(TARGETS qdial EXPORT qdial_targets)
install(EXPORT qdial_targets NAMESPACE qdial:: FILE qdial-targets.cmake
  DESTINATION ${qdial_package_dir})

configure_package_config_file(cmake/qdial-config.cmake.in
  ${CMAKE_CURRENT_BINARY_DIR}/qdial-config.cmake INSTALL_DESTINATION ${qdial_package_dir})
# Headers only: the package serves every architecture.
write_basic_package_version_file(${CMAKE_CURRENT_BINARY_DIR}/qdial-config-version.cmake
  COMPATIBILITY SameMinorVersion ARCH_INDEPENDENT)
install(FILES
  ${CMAKE_CURRENT_BINARY_DIR}/qdial-config.cmake
  ${CMAKE_CURRENT_BINARY_DIR}/qdial-config-version.cmake
  DESTINATION ${qdial_package_dir})
