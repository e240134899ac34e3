# SPDX-License-Identifier: Apache-2.0
#
# Defines larder::hiredis if hiredis can be found: by its own CMake package, which it has since
# version 1.0, else through pkg-config. Used by the build and by the installed package.

if(NOT TARGET larder::hiredis)
  if(NOT TARGET hiredis::hiredis)
    find_package(hiredis CONFIG QUIET)
  endif()
  if(TARGET hiredis::hiredis)
    set(larder_hiredis hiredis::hiredis)
  else()
    find_package(PkgConfig QUIET)
    if(PkgConfig_FOUND)
      pkg_check_modules(larder_hiredis_pc QUIET IMPORTED_TARGET hiredis)
    endif()
    if(TARGET PkgConfig::larder_hiredis_pc)
      set(larder_hiredis PkgConfig::larder_hiredis_pc)
    endif()
  endif()
  if(larder_hiredis)
    add_library(larder::hiredis INTERFACE IMPORTED)
    target_link_libraries(larder::hiredis INTERFACE ${larder_hiredis})
  endif()
endif()
