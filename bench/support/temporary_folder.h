// SPDX-License-Identifier: Apache-2.0

#ifndef LARDER_BENCH_SUPPORT_TEMPORARY_FOLDER_H_
#define LARDER_BENCH_SUPPORT_TEMPORARY_FOLDER_H_

#include <stdlib.h>

#include <filesystem>
#include <string>
#include <system_error>

namespace larder::bench {

// A new folder among the system's temporary files (TMPDIR), gone at the end with all that is in it.
class TemporaryFolder {
 public:
  TemporaryFolder() {
    std::error_code none;
    const std::filesystem::path all = std::filesystem::temp_directory_path(none);
    std::string path = (all / "larder-bench-XXXXXX").string();
    if (!none && mkdtemp(path.data()) != nullptr) path_ = path;
  }
  ~TemporaryFolder() {
    std::error_code ignored;
    if (!path_.empty()) std::filesystem::remove_all(path_, ignored);
  }
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;

  // "" if there is no place for one.
  const std::string& path() const { return path_; }

  std::string File(const std::string& name) const { return path_ + "/" + name; }

 private:
  std::string path_;
};

}  // namespace larder::bench

#endif  // LARDER_BENCH_SUPPORT_TEMPORARY_FOLDER_H_
