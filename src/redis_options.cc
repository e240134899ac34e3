// SPDX-License-Identifier: Apache-2.0
#include <sys/un.h>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "larder/redis_tier.h"
#include "src/text.h"

namespace larder {
namespace {

using internal::Concat;

template <class Value>
absl::Status Invalid(std::string_view field, const Value& value, std::string_view rule) {
  return absl::InvalidArgumentError(Concat("RedisOptions::", field, " is ", value, ": ", rule));
}

absl::Status CheckTimeout(std::string_view field, absl::Duration timeout) {
  if (timeout > absl::ZeroDuration()) return absl::OkStatus();
  return Invalid(field, absl::FormatDuration(timeout), "must be positive");
}

absl::Status CheckPlace(const RedisOptions& options) {
  if (options.unix_socket.empty() && options.host.empty()) {
    return absl::InvalidArgumentError(
        "RedisOptions::unix_socket and RedisOptions::host are both empty: one must be set");
  }
  if (!options.unix_socket.empty() && !options.host.empty()) {
    return absl::InvalidArgumentError(Concat("RedisOptions::unix_socket is \"", options.unix_socket,
                                             "\" and RedisOptions::host is \"", options.host,
                                             "\": only one may be set"));
  }
  if (options.unix_socket.find('\0') != std::string::npos) {
    return Invalid("unix_socket", options.unix_socket.c_str(), "must not contain NUL");
  }
  if (options.unix_socket.size() >= sizeof(sockaddr_un::sun_path)) {
    return Invalid("unix_socket", options.unix_socket,
                   Concat("must be shorter than ", sizeof(sockaddr_un::sun_path), " bytes"));
  }
  if (options.host.find('\0') != std::string::npos) {
    return Invalid("host", options.host.c_str(), "must not contain NUL");
  }
  if (options.port < 1 || options.port > 65535) {
    return Invalid("port", options.port, "must be in 1..65535");
  }
  if (!options.tls.has_value()) return absl::OkStatus();
  if (!options.unix_socket.empty()) {
    return Invalid("unix_socket", options.unix_socket, "there is no TLS on Unix sockets");
  }
  return options.tls->Validate();
}

}  // namespace

absl::Status RedisOptions::Validate() const {
  if (absl::Status status = CheckPlace(*this); !status.ok()) return status;
  if (database < 0) return Invalid("database", database, "must not be negative");
  if (absl::Status status = CheckTimeout("connect_timeout", connect_timeout); !status.ok()) {
    return status;
  }
  if (absl::Status status = CheckTimeout("command_timeout", command_timeout); !status.ok()) {
    return status;
  }
  if (max_connections < 1) {
    return Invalid("max_connections", max_connections, "must be at least 1");
  }
  if (change_notices != ChangeNotices::kTracking && change_notices != ChangeNotices::kPublish) {
    return Invalid("change_notices", static_cast<int>(change_notices), "is no ChangeNotices");
  }
  if (absl::Status status = CheckTimeout("heartbeat_interval", heartbeat_interval); !status.ok()) {
    return status;
  }
  if (absl::Status status = CheckTimeout("heartbeat_timeout", heartbeat_timeout); !status.ok()) {
    return status;
  }
  return absl::OkStatus();
}

}  // namespace larder
