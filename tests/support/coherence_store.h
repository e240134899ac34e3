// SPDX-License-Identifier: Apache-2.0
//
// CoherenceStore: the store of one server of a coherence check.

#ifndef LARDER_TESTS_SUPPORT_COHERENCE_STORE_H_
#define LARDER_TESTS_SUPPORT_COHERENCE_STORE_H_

#include <signal.h>

#include <chrono>
#include <cstdint>
#include <optional>
#include <random>
#include <span>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "larder/store.h"
#include "tests/support/coherence_shared.h"
#include "tests/support/coherence_truth.h"

namespace larder::test {

// The truth as one server's store: slow, now and then very slow, and perhaps the server's death.
class CoherenceStore : public Store<std::string, std::string> {
 public:
  CoherenceStore(CoherenceTruth& truth, CoherenceServerState& state, int server)
      : truth_(truth), state_(state), server_(server) {}

  static std::string TagOf(int key) { return absl::StrCat("tag", key % 4); }

  absl::StatusOr<std::string> Load(const std::string& name) override {
    ++state_.from_store;
    Wait();
    const int key = CoherenceTruth::KeyNumber(name);
    const CoherenceTruth::Version version = truth_.Newest(key);
    Wait();
    if (version.is_erased) return absl::NotFoundError("");
    return CoherenceTruth::ValueOf(key, version.id);
  }

  absl::StatusOr<Loaded<std::string>> LoadEntry(const std::string& name,
                                                LoadContext<std::string>&) override {
    absl::StatusOr<std::string> value = Load(name);
    if (!value.ok()) return value.status();
    Loaded<std::string> loaded{.value = *std::move(value)};
    loaded.tags = {TagOf(CoherenceTruth::KeyNumber(name))};
    return loaded;
  }

  std::vector<absl::StatusOr<Loaded<std::string>>> LoadEntries(
      std::span<const std::string> names) override {
    std::vector<absl::StatusOr<Loaded<std::string>>> entries;
    LoadContext<std::string> context(nullptr, {});
    for (const std::string& name : names) entries.push_back(LoadEntry(name, context));
    return entries;
  }

  absl::Status Write(const std::string& name, const std::string& value, const WriteId&) override {
    const int key = CoherenceTruth::KeyNumber(name);
    const std::optional<uint64_t> id = CoherenceTruth::IdOf(key, value);
    if (!id.has_value()) return absl::InternalError("a value that nobody put reached the store");
    Write(key, *id, /*is_erased=*/false);
    return absl::OkStatus();
  }

  absl::Status Erase(const std::string& name, const WriteId&) override {
    Write(CoherenceTruth::KeyNumber(name), truth_.NewId(server_), /*is_erased=*/true);
    return absl::OkStatus();
  }

 private:
  void Wait() {
    thread_local std::minstd_rand random(static_cast<unsigned>(MonotonicNow()));
    const auto draw = random() % 1000;
    std::this_thread::sleep_for(std::chrono::microseconds(draw < 5 ? 20'000 : draw % 300));
  }

  void Write(int key, uint64_t id, bool is_erased) {
    Wait();
    const uint64_t order = truth_.Write(key, id, is_erased);
    if (state_.dies_in_write.exchange(false)) {
      truth_.Overwritten(key, order);
      raise(SIGKILL);
    }
    Wait();
    truth_.Overwritten(key, order);
  }

  CoherenceTruth& truth_;
  CoherenceServerState& state_;
  const int server_;
};

}  // namespace larder::test

#endif  // LARDER_TESTS_SUPPORT_COHERENCE_STORE_H_
