// SPDX-License-Identifier: Apache-2.0
#include "tests/support/faulty_file_system.h"

#include <algorithm>

#include "src/text.h"

namespace larder::test {

using internal::Concat;
using internal::MutexLock;

namespace {

std::string_view NameOf(FileCall call) {
  constexpr std::string_view kNames[] = {
      "create", "write",  "sync", "truncate",         "close",          "read",
      "rename", "remove", "list", "create directory", "sync directory", "lock"};
  return kNames[static_cast<size_t>(call)];
}

absl::Status Failed(FileCall call, const std::string& path, const absl::Status& reason) {
  return absl::Status(reason.code(),
                      Concat("can't ", NameOf(call), " ", path, ": ", reason.message()));
}

absl::Status NotThere(FileCall call, const std::string& path) {
  return Failed(call, path, absl::NotFoundError("No such file or directory"));
}

std::string Normal(std::string_view path) {
  std::string normal;
  for (const char c : path)
    if (c != '/' || normal.empty() || normal.back() != '/') normal += c;
  if (normal.size() > 1 && normal.back() == '/') normal.pop_back();
  return normal == "." ? "" : normal;
}

std::string ParentOf(const std::string& path) {
  const size_t slash = path.find_last_of('/');
  if (slash == std::string::npos) return "";
  return slash == 0 ? "/" : path.substr(0, slash);
}

}  // namespace

class FaultyFileSystem::File : public AppendFile {
 public:
  File(FaultyFileSystem* files, std::string path, std::shared_ptr<Contents> contents)
      : files_(files), path_(std::move(path)), contents_(std::move(contents)) {}

  absl::Status Append(std::string_view bytes) override {
    return files_->AppendTo(*contents_, path_, bytes);
  }
  absl::Status Sync() override { return files_->Sync(*contents_, path_); }
  absl::Status Truncate(uint64_t size) override {
    return files_->Truncate(*contents_, path_, size);
  }
  absl::Status Close() override { return files_->Close(path_); }

 private:
  FaultyFileSystem* const files_;
  const std::string path_;  // when it was created
  const std::shared_ptr<Contents> contents_;
};

class FaultyFileSystem::HeldLock : public Lock {
 public:
  HeldLock(FaultyFileSystem* files, std::shared_ptr<Contents> contents)
      : files_(files), contents_(std::move(contents)) {}
  ~HeldLock() override { files_->Unlock(contents_); }

 private:
  FaultyFileSystem* const files_;
  const std::shared_ptr<Contents> contents_;
};

FaultyFileSystem::FaultyFileSystem(uint64_t seed) : random_(seed), directories_({"", "/"}) {}
FaultyFileSystem::~FaultyFileSystem() = default;

absl::Status FaultyFileSystem::NoSpace() {
  return absl::ResourceExhaustedError("No space left on device");
}
absl::Status FaultyFileSystem::IoError() { return absl::UnavailableError("Input/output error"); }

uint64_t FaultyFileSystem::calls() const {
  MutexLock lock(&mutex_);
  return calls_;
}

uint64_t FaultyFileSystem::failed_calls() const {
  MutexLock lock(&mutex_);
  return failed_calls_;
}

void FaultyFileSystem::FailCall(uint64_t n, absl::Status error) {
  MutexLock lock(&mutex_);
  failing_calls_[n] = std::move(error);
}

void FaultyFileSystem::FailCallsFrom(uint64_t n, absl::Status error) {
  MutexLock lock(&mutex_);
  failing_from_.emplace(n, std::move(error));
}

void FaultyFileSystem::FailAll(FileCall call, absl::Status error, std::string part) {
  MutexLock lock(&mutex_);
  failing_.push_back({call, std::move(error), std::move(part)});
}

void FaultyFileSystem::LimitSpace(uint64_t bytes) {
  MutexLock lock(&mutex_);
  space_ = bytes;
}

void FaultyFileSystem::Heal() {
  MutexLock lock(&mutex_);
  failing_calls_.clear();
  failing_from_.reset();
  failing_.clear();
  space_.reset();
}

void FaultyFileSystem::SetObserver(Observer observer) {
  MutexLock lock(&mutex_);
  observer_ = observer ? std::make_shared<const Observer>(std::move(observer)) : nullptr;
}

std::map<std::string, std::string> FaultyFileSystem::Files() const {
  MutexLock lock(&mutex_);
  std::map<std::string, std::string> files;
  for (const auto& [path, contents] : names_) files[path] = contents->bytes;
  return files;
}

void FaultyFileSystem::SetFile(const std::string& path, std::optional<std::string> bytes) {
  MutexLock lock(&mutex_);
  const std::string normal = Normal(path);
  // Changes before this must not undo it.
  for (const Change& change : std::exchange(changes_, {})) Apply(change, &durable_names_);
  names_.erase(normal);
  durable_names_.erase(normal);
  if (!bytes.has_value()) return;
  const auto contents = std::make_shared<Contents>(Contents{*bytes, *bytes, {}});
  names_[normal] = durable_names_[normal] = contents;
  for (std::string above = ParentOf(normal); directories_.insert(above).second;)
    above = ParentOf(above);
}

// What calls do.

void FaultyFileSystem::Observe(FileCall call, const std::string& path) const {
  std::shared_ptr<const Observer> observer;
  {
    MutexLock lock(&mutex_);
    observer = observer_;
  }
  if (observer != nullptr) (*observer)(call, path);
}

absl::Status FaultyFileSystem::Count(FileCall call, const std::string& path) {
  ++calls_;
  absl::Status error;
  if (failing_from_.has_value() && calls_ >= failing_from_->first) error = failing_from_->second;
  for (const Failure& failure : failing_)
    if (failure.call == call && path.find(failure.part) != std::string::npos) error = failure.error;
  if (const auto found = failing_calls_.find(calls_); found != failing_calls_.end())
    error = found->second;
  if (error.ok()) return error;
  ++failed_calls_;
  return Failed(call, path, error);
}

uint64_t FaultyFileSystem::Draw(uint64_t bound) { return random_() % bound; }

bool FaultyFileSystem::IsDirectory(const std::string& path) const {
  return directories_.contains(path);
}

uint64_t FaultyFileSystem::UsedSpace() const {
  uint64_t bytes = 0;
  for (const auto& [path, contents] : names_) bytes += contents->bytes.size();
  return bytes;
}

void FaultyFileSystem::Make(Change change) {
  Apply(change, &names_);
  changes_.push_back(std::move(change));
}

absl::StatusOr<std::unique_ptr<AppendFile>> FaultyFileSystem::Create(const std::string& name) {
  constexpr auto kCall = FileCall::kCreate;
  const std::string path = Normal(name);
  Observe(kCall, path);
  MutexLock lock(&mutex_);
  if (absl::Status status = Count(kCall, path); !status.ok()) return status;
  const std::string directory = ParentOf(path);
  if (!IsDirectory(directory)) return NotThere(kCall, path);
  if (names_.contains(path) || IsDirectory(path))
    return Failed(kCall, path, absl::AlreadyExistsError("File exists"));
  auto contents = std::make_shared<Contents>();
  Make({directory, "", path, contents});
  return std::make_unique<File>(this, path, std::move(contents));
}

absl::StatusOr<std::string> FaultyFileSystem::Read(const std::string& name) {
  constexpr auto kCall = FileCall::kRead;
  const std::string path = Normal(name);
  Observe(kCall, path);
  MutexLock lock(&mutex_);
  if (absl::Status status = Count(kCall, path); !status.ok()) return status;
  const auto found = names_.find(path);
  if (found == names_.end()) return NotThere(kCall, path);
  return found->second->bytes;
}

absl::Status FaultyFileSystem::Rename(const std::string& from_name, const std::string& to_name) {
  constexpr auto kCall = FileCall::kRename;
  const std::string from = Normal(from_name);
  const std::string to = Normal(to_name);
  Observe(kCall, from);
  MutexLock lock(&mutex_);
  if (absl::Status status = Count(kCall, from); !status.ok()) return status;
  const auto found = names_.find(from);
  if (found == names_.end() || !IsDirectory(ParentOf(to))) return NotThere(kCall, from);
  if (from == to) return absl::OkStatus();
  const std::shared_ptr<Contents> contents = found->second;
  if (ParentOf(from) == ParentOf(to)) {
    Make({ParentOf(from), from, to, contents});
  } else {
    Make({ParentOf(to), "", to, contents});
    Make({ParentOf(from), from, "", nullptr});
  }
  return absl::OkStatus();
}

absl::Status FaultyFileSystem::Remove(const std::string& name) {
  constexpr auto kCall = FileCall::kRemove;
  const std::string path = Normal(name);
  Observe(kCall, path);
  MutexLock lock(&mutex_);
  if (absl::Status status = Count(kCall, path); !status.ok()) return status;
  if (!names_.contains(path)) return NotThere(kCall, path);
  Make({ParentOf(path), path, "", nullptr});
  return absl::OkStatus();
}

absl::StatusOr<std::vector<std::string>> FaultyFileSystem::List(const std::string& name) {
  constexpr auto kCall = FileCall::kList;
  const std::string directory = Normal(name);
  Observe(kCall, directory);
  MutexLock lock(&mutex_);
  if (absl::Status status = Count(kCall, directory); !status.ok()) return status;
  if (!IsDirectory(directory)) return NotThere(kCall, directory);
  std::vector<std::string> in_it;
  const auto add = [&](const std::string& path) {
    if (path.empty() || path == "/" || ParentOf(path) != directory) return;
    in_it.push_back(path.substr(path.find_last_of('/') + 1));
  };
  for (const auto& [path, contents] : names_) add(path);
  for (const std::string& path : directories_) add(path);
  std::shuffle(in_it.begin(), in_it.end(), random_);
  return in_it;
}

absl::Status FaultyFileSystem::CreateDirectory(const std::string& name) {
  constexpr auto kCall = FileCall::kCreateDirectory;
  const std::string path = Normal(name);
  Observe(kCall, path);
  MutexLock lock(&mutex_);
  if (absl::Status status = Count(kCall, path); !status.ok()) return status;
  for (std::string above = path; !IsDirectory(above); above = ParentOf(above))
    if (names_.contains(above))
      return Failed(kCall, path, absl::FailedPreconditionError("Not a directory"));
  for (std::string above = path; directories_.insert(above).second;) above = ParentOf(above);
  return absl::OkStatus();
}

absl::Status FaultyFileSystem::SyncDirectory(const std::string& name) {
  constexpr auto kCall = FileCall::kSyncDirectory;
  const std::string directory = Normal(name);
  Observe(kCall, directory);
  MutexLock lock(&mutex_);
  absl::Status status = Count(kCall, directory);
  if (status.ok() && !IsDirectory(directory)) return NotThere(kCall, directory);
  const auto of_it = [&](const Change& change) { return change.directory == directory; };
  auto left = static_cast<uint64_t>(std::count_if(changes_.begin(), changes_.end(), of_it));
  if (!status.ok()) left = Draw(left + 1);
  std::erase_if(changes_, [&](const Change& change) {
    if (left == 0 || !of_it(change)) return false;
    --left;
    Apply(change, &durable_names_);
    return true;
  });
  return status;
}

absl::StatusOr<std::unique_ptr<FileSystem::Lock>> FaultyFileSystem::LockFile(
    const std::string& name) {
  constexpr auto kCall = FileCall::kLock;
  const std::string path = Normal(name);
  Observe(kCall, path);
  MutexLock lock(&mutex_);
  if (absl::Status status = Count(kCall, path); !status.ok()) return status;
  if (!IsDirectory(ParentOf(path))) return NotThere(kCall, path);
  if (!names_.contains(path)) Make({ParentOf(path), "", path, std::make_shared<Contents>()});
  const std::shared_ptr<Contents> contents = names_[path];
  if (!locked_.insert(contents).second)
    return Failed(kCall, path, absl::FailedPreconditionError("somebody else has it locked"));
  return std::make_unique<HeldLock>(this, contents);
}

void FaultyFileSystem::Unlock(const std::shared_ptr<Contents>& contents) {
  MutexLock lock(&mutex_);
  locked_.erase(contents);
}

absl::Status FaultyFileSystem::AppendTo(Contents& contents, const std::string& path,
                                        std::string_view bytes) {
  Observe(FileCall::kAppend, path);
  MutexLock lock(&mutex_);
  absl::Status status = Count(FileCall::kAppend, path);
  if (!status.ok()) bytes = bytes.substr(0, Draw(bytes.size() + 1));
  if (space_.has_value()) {
    const uint64_t used = UsedSpace();
    const uint64_t free = used < *space_ ? *space_ - used : 0;
    if (bytes.size() > free) {
      bytes = bytes.substr(0, free);
      ++failed_calls_;
      status = Failed(FileCall::kAppend, path, NoSpace());
    }
  }
  contents.bytes.append(bytes);
  return status;
}

absl::Status FaultyFileSystem::Sync(Contents& contents, const std::string& path) {
  Observe(FileCall::kSync, path);
  MutexLock lock(&mutex_);
  absl::Status status = Count(FileCall::kSync, path);
  if (status.ok()) {
    contents.durable = OnDisk(contents);
  } else {
    SyncInPart(contents);
  }
  return status;
}

absl::Status FaultyFileSystem::Truncate(Contents& contents, const std::string& path,
                                        uint64_t size) {
  Observe(FileCall::kTruncate, path);
  MutexLock lock(&mutex_);
  absl::Status status = Count(FileCall::kTruncate, path);
  if (!status.ok() && Draw(2) == 0) return status;
  if (size < contents.bytes.size()) contents.bytes.resize(size);
  for (auto& [begin, end] : contents.dropped) {
    begin = std::min<size_t>(begin, size);
    end = std::min<size_t>(end, size);
  }
  return status;
}

absl::Status FaultyFileSystem::Close(const std::string& path) {
  Observe(FileCall::kClose, path);
  MutexLock lock(&mutex_);
  return Count(FileCall::kClose, path);
}

}  // namespace larder::test
