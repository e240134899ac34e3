// SPDX-License-Identifier: Apache-2.0
//
// How a subscription comes about.

#include <algorithm>
#include <cstdint>
#include <utility>

#include "larder/internal/random_bits.h"
#include "src/redis_client.h"
#include "src/redis_command.h"
#include "src/redis_reply.h"
#include "src/redis_scripts.h"
#include "src/redis_subscription.h"
#include "src/text.h"

namespace larder::internal {
namespace {

using From = RedisMessages::From;
using Listener = std::unique_ptr<RedisListener>;

// A probe's word comes with the answer to its change, or soon after.
constexpr absl::Duration kLongestProbe = absl::Seconds(5);

// Longer than any server's.
constexpr size_t kLongestRunId = 128;

// What is listened on, and to which run of a server.
struct Ears {
  std::vector<Listener> listeners;
  std::string incarnation;
};

// What to do about a server that can't or may not.
absl::Status Advise(const absl::Status& status) {
  if (!absl::IsFailedPrecondition(status) && !absl::IsPermissionDenied(status)) return status;
  return absl::Status(
      status.code(), Concat(status.message(),
                            " (without client tracking, servers can use ChangeNotices::kPublish)"));
}

class Starter {
 public:
  Starter(const RedisOptions& options, const std::string& address, Deadline limit)
      : options_(options), address_(address), limit_(limit) {}

  // Listens and probes. `two`: another connection turns client tracking on.
  absl::StatusOr<Ears> Start(From from, bool two);

 private:
  absl::StatusOr<std::unique_ptr<RedisConnection>> Dial() {
    return RedisConnection::Dial(options_, address_, limit_);
  }
  // To the server that is listened to; Unavailable where another one answers.
  absl::StatusOr<std::unique_ptr<RedisConnection>> DialAgain();
  absl::StatusOr<RedisReply> Ask(RedisConnection& connection, const RedisRequest& request);
  absl::StatusOr<std::string> RunId(RedisConnection& connection);
  absl::StatusOr<std::string> ClientId(RedisConnection& connection);
  absl::Status TurnTrackingOn(RedisConnection& connection, std::string_view client_id);
  absl::StatusOr<Listener> Listen(RedisConnection& connection, From from);
  absl::Status Probe(RedisListener& listener);
  absl::Status Change(std::string_view probe);
  template <class Condition>
  absl::Status WaitUntil(RedisListener& listener, Deadline deadline, Condition&& condition);

  const RedisOptions& options_;
  const std::string& address_;
  const Deadline limit_;
  std::string run_id_;  // of the server that is listened to
};

absl::StatusOr<std::unique_ptr<RedisConnection>> Starter::DialAgain() {
  absl::StatusOr<std::unique_ptr<RedisConnection>> connection = Dial();
  if (!connection.ok()) return connection;
  const absl::StatusOr<std::string> run_id = RunId(**connection);
  // Another one, too, where it doesn't say.
  if (absl::IsFailedPrecondition(run_id.status())) {
    return absl::UnavailableError(run_id.status().message());
  }
  if (!run_id.ok()) return run_id.status();
  if (*run_id == run_id_) return connection;
  return absl::UnavailableError(Concat(address_, ": server ", *run_id, " answers, not ", run_id_,
                                       ", to which the subscription was made"));
}

// The answer to the only command of `request`. FailedPrecondition where the server doesn't know it.
absl::StatusOr<RedisReply> Starter::Ask(RedisConnection& connection, const RedisRequest& request) {
  absl::StatusOr<RedisReplies> replies = connection.Call(request, limit_);
  if (replies.ok()) return std::move(replies->front());
  // Nonsense would have broken the connection; this was said in so many words.
  if (!absl::IsInternal(replies.status()) || connection.broken()) return replies.status();
  return absl::FailedPreconditionError(replies.status().message());
}

absl::StatusOr<std::string> Starter::RunId(RedisConnection& connection) {
  RedisRequest request;
  request.Add({"INFO", ReplyKind::kString}, {"INFO", "server"});
  const absl::StatusOr<RedisReply> reply = Ask(connection, request);
  if (!reply.ok()) return reply.status();
  constexpr std::string_view kField = "\nrun_id:";
  std::string_view info = ReplyText(**reply);
  const size_t at = info.find(kField);
  if (at != std::string_view::npos) {
    info.remove_prefix(at + kField.size());
    info = info.substr(0, std::min(info.find_first_of("\r\n"), kLongestRunId));
    if (!info.empty()) return std::string(info);
  }
  return absl::FailedPreconditionError(Concat(address_, ": INFO: the server names no run_id"));
}

absl::StatusOr<std::string> Starter::ClientId(RedisConnection& connection) {
  RedisRequest request;
  request.Add({"CLIENT ID", ReplyKind::kInteger}, {"CLIENT", "ID"});
  const absl::StatusOr<RedisReply> reply = Ask(connection, request);
  if (!reply.ok()) return Advise(reply.status());
  return Concat((*reply)->integer);
}

// Has client `client_id` told of all changes of keys with the prefix, as long as this connection
// lasts.
absl::Status Starter::TurnTrackingOn(RedisConnection& connection, std::string_view client_id) {
  const bool all = options_.key_prefix.empty();
  RedisRequest request;
  request.Begin({"CLIENT TRACKING", ReplyKind::kStatus}, all ? 6 : 8);
  request.Word("CLIENT").Word("TRACKING").Word("ON").Word("REDIRECT").Word(client_id).Word("BCAST");
  if (!all) request.Word("PREFIX").Word(options_.key_prefix);
  return Advise(Ask(connection, request).status());
}

absl::StatusOr<Listener> Starter::Listen(RedisConnection& connection, From from) {
  auto listener = std::make_unique<RedisListener>(connection.Detach(), from, options_, address_);
  if (from == From::kNothing) return listener;
  absl::Status status = listener->Subscribe();
  if (!status.ok()) return status;
  status = WaitUntil(*listener, limit_, [&] { return listener->messages().subscribed(); });
  if (!status.ok()) return status;
  return listener;
}

// DeadlineExceeded if it didn't come true in time.
template <class Condition>
absl::Status Starter::WaitUntil(RedisListener& listener, Deadline deadline, Condition&& condition) {
  while (true) {
    PollUntil(listener.fd(), POLLIN, deadline);
    // First, lest a server that keeps talking get longer.
    const bool passed = deadline.Passed();
    if (absl::Status status = listener.Read(); !status.ok()) return status;
    if (condition()) return absl::OkStatus();
    if (passed) {
      return absl::DeadlineExceededError(Concat(address_, ": SUBSCRIBE: no answer within ",
                                                absl::FormatDuration(deadline.timeout())));
    }
  }
}

// Makes a change, as any client might, and waits for word of it. FailedPrecondition if none comes
// although the server is there.
absl::Status Starter::Probe(RedisListener& listener) {
  const std::string probe = Concat(RandomBits());
  RedisMessages& messages = listener.messages();
  messages.ExpectProbe(probe);
  if (absl::Status status = Change(probe); !status.ok()) return status;
  const size_t pongs = messages.pongs();
  if (absl::Status status = listener.Ask(); !status.ok()) return status;
  const Deadline deadline = Deadline::After(std::min(limit_.Remaining() / 2, kLongestProbe));
  const absl::Status status = WaitUntil(listener, deadline, [&] { return messages.probed(); });
  if (!absl::IsDeadlineExceeded(status) || messages.pongs() == pongs) return status;
  const auto not_told = absl::FailedPreconditionError(
      Concat(address_, ": the server doesn't tell of changes on \"", messages.channel(), "\""));
  return options_.change_notices == ChangeNotices::kTracking ? Advise(not_told) : not_told;
}

absl::Status Starter::Change(std::string_view probe) {
  absl::StatusOr<std::unique_ptr<RedisConnection>> connection = DialAgain();
  if (!connection.ok()) return connection.status();
  RedisRequest request;
  if (options_.change_notices == ChangeNotices::kPublish) {
    request.Add(
        {"PUBLISH", ReplyKind::kInteger},
        {"PUBLISH", Concat(options_.key_prefix, kNoticeChannel), Concat(kProbeNotice, probe)});
    return Ask(**connection, request).status();
  }
  // In one step, so that nothing stays; and by what a server executes whose memory is full, too.
  const uint64_t token = RandomBits();
  request.Add({"EVAL", ReplyKind::kVerdict, 0, token},
              {"EVAL", RedisScripts::Get(/*publish=*/false).invalidate.text, "1",
               Concat(options_.key_prefix, kProbeKey, probe), Concat(token)});
  return Ask(**connection, request).status();
}

absl::StatusOr<Ears> Starter::Start(From from, bool two) {
  absl::StatusOr<std::unique_ptr<RedisConnection>> connection = Dial();
  if (!connection.ok()) return connection.status();
  absl::StatusOr<std::string> run_id = RunId(**connection);
  if (!run_id.ok()) return run_id.status();
  run_id_ = *std::move(run_id);

  absl::StatusOr<std::string> client_id = "";
  if (from == From::kTracking) client_id = ClientId(**connection);
  if (!client_id.ok()) return client_id.status();
  if (from == From::kTracking && !two) {
    if (absl::Status status = TurnTrackingOn(**connection, *client_id); !status.ok()) return status;
  }
  absl::StatusOr<Listener> listener = Listen(**connection, from);
  if (!listener.ok()) return listener.status();
  Ears ears = {{}, run_id_};
  ears.listeners.push_back(*std::move(listener));

  if (two) {
    connection = DialAgain();
    if (!connection.ok()) return connection.status();
    if (absl::Status status = TurnTrackingOn(**connection, *client_id); !status.ok()) return status;
    listener = Listen(**connection, From::kNothing);
    if (!listener.ok()) return listener.status();
    ears.listeners.push_back(*std::move(listener));
  }
  if (absl::Status status = Probe(*ears.listeners.front()); !status.ok()) return status;
  return ears;
}

}  // namespace

absl::StatusOr<std::unique_ptr<RedisSubscription>> RedisSubscription::Start(
    const RedisOptions& options, std::string address, Deadline deadline, Connections connections) {
  const Deadline own_limit = Deadline::After(options.connect_timeout);
  const bool own_limit_first = own_limit < deadline;
  absl::StatusOr<ScopedFd> wake = MakeEventFd();
  if (!wake.ok()) return wake.status();
  Starter starter(options, address, own_limit_first ? own_limit : deadline);
  const bool by_tracking = options.change_notices == ChangeNotices::kTracking;
  absl::StatusOr<Ears> ears = absl::FailedPreconditionError("");
  if (!by_tracking) {
    ears = starter.Start(From::kNotices, /*two=*/false);
  } else if (connections == Connections::kOneIfItWorks) {
    ears = starter.Start(From::kTracking, /*two=*/false);
  }
  if (by_tracking && absl::IsFailedPrecondition(ears.status())) {
    ears = starter.Start(From::kTracking, /*two=*/true);
  }
  if (ears.ok()) {
    return std::unique_ptr<RedisSubscription>(new RedisSubscription(
        *std::move(wake), std::move(ears->incarnation), by_tracking, std::move(ears->listeners)));
  }
  if (own_limit_first && absl::IsDeadlineExceeded(ears.status())) {
    return absl::UnavailableError(Concat(ears.status().message(), " (connect_timeout ",
                                         absl::FormatDuration(options.connect_timeout), ")"));
  }
  return ears.status();
}

}  // namespace larder::internal
