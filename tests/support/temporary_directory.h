// SPDX-License-Identifier: Apache-2.0
#ifndef LARDER_TESTS_SUPPORT_TEMPORARY_DIRECTORY_H_
#define LARDER_TESTS_SUPPORT_TEMPORARY_DIRECTORY_H_

#include <stdlib.h>

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <string>
#include <system_error>

namespace larder::test {

// A new directory on a real file system, which is removed with all that is in it.
class TemporaryDirectory {
 public:
  TemporaryDirectory() : TemporaryDirectory(std::getenv("TEST_TMPDIR")) {}  // Bazel's
  // In `parent`; nullptr: /tmp.
  explicit TemporaryDirectory(const char* parent)
      : path_(std::string(parent != nullptr ? parent : "/tmp") + "/larder.XXXXXX") {
    if (mkdtemp(path_.data()) == nullptr) {
      std::perror(path_.c_str());
      std::abort();
    }
  }
  TemporaryDirectory(const TemporaryDirectory&) = delete;
  TemporaryDirectory& operator=(const TemporaryDirectory&) = delete;
  ~TemporaryDirectory() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }

  const std::string& path() const { return path_; }
  std::string operator/(const std::string& name) const { return path_ + "/" + name; }

 private:
  std::string path_;
};

}  // namespace larder::test

#endif  // LARDER_TESTS_SUPPORT_TEMPORARY_DIRECTORY_H_
