// SPDX-License-Identifier: Apache-2.0
//
// DirectoryOf: taking paths apart.

#ifndef LARDER_SRC_PATHS_H_
#define LARDER_SRC_PATHS_H_

#include <string>

namespace larder::internal {

// The directory that a path is in, whatever slashes it ends with; "." where it doesn't say, "/" for
// that itself.
std::string DirectoryOf(const std::string& path);

}  // namespace larder::internal

#endif  // LARDER_SRC_PATHS_H_
