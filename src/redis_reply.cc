// SPDX-License-Identifier: Apache-2.0
#include "src/redis_reply.h"

#include <algorithm>
#include <string>

#include "src/text.h"

namespace larder::internal {
namespace {

std::string_view TypeName(int type) {
  switch (type) {
    case REDIS_REPLY_STRING:
      return "a string";
    case REDIS_REPLY_ARRAY:
      return "an array";
    case REDIS_REPLY_INTEGER:
      return "an integer";
    case REDIS_REPLY_NIL:
      return "nil";
    case REDIS_REPLY_STATUS:
      return "a status";
    default:
      return "something unknown";
  }
}

bool IsStringOrNil(const redisReply& reply) {
  return reply.type == REDIS_REPLY_STRING || reply.type == REDIS_REPLY_NIL;
}

bool IsOk(const redisReply& reply) {
  return reply.type == REDIS_REPLY_STATUS && ReplyText(reply) == "OK";
}

absl::Status CheckStrings(const redisReply& reply, size_t elements) {
  if (reply.type != REDIS_REPLY_ARRAY) {
    return absl::InternalError(Concat("expected an array, got ", TypeName(reply.type)));
  }
  if (reply.elements != elements) {
    return absl::InternalError(
        Concat("expected an array of ", elements, ", got one of ", reply.elements));
  }
  for (size_t i = 0; i < elements; ++i) {
    if (!IsStringOrNil(*reply.element[i])) {
      return absl::InternalError(
          Concat("expected a string or nil at [", i, "], got ", TypeName(reply.element[i]->type)));
    }
  }
  return absl::OkStatus();
}

absl::Status CheckVerdict(const redisReply& reply, uint64_t token) {
  if (reply.type == REDIS_REPLY_STRING &&
      (ReplyText(reply) == Concat("+", token) || ReplyText(reply) == Concat("-", token))) {
    return absl::OkStatus();
  }
  return absl::InternalError(Concat("expected a verdict, got ", TypeName(reply.type)));
}

absl::Status CheckHeads(const redisReply& reply, uint64_t token) {
  if (absl::Status status = CheckStrings(reply, 3); !status.ok()) return status;
  const redisReply& head = *reply.element[1];
  const redisReply& again = *reply.element[2];
  if (ReplyText(*reply.element[0]) == Concat(token) && head.type == again.type &&
      ReplyText(head) == ReplyText(again)) {
    return absl::OkStatus();
  }
  return absl::InternalError("expected its own answer, got another");
}

// The length's type is int in hiredis 0.14 and size_t since 1.0; the member of
// redisReplyObjectFunctions that this is assigned to decides.
template <class Length>
void* CreateLimitedArray(const redisReadTask* task, Length length);

// hiredis's own functions, with arrays limited. Built once, from a reader made for the purpose,
// since hiredis doesn't export them.
struct Functions {
  Functions() {
    redisReader* const reader = redisReaderCreate();
    original = *reader->fn;
    redisReaderFree(reader);
    limited = original;
    limited.createArray = CreateLimitedArray;
  }

  static Functions& Get() {
    static Functions* const functions = new Functions;  // never destroyed: no order at exit
    return *functions;
  }

  redisReplyObjectFunctions original;
  redisReplyObjectFunctions limited;
};

template <class Length>
void* CreateLimitedArray(const redisReadTask* task, Length length) {
  auto* const limit = static_cast<ArrayLimit*>(task->privdata);
  if (static_cast<size_t>(length) > std::min(limit->allowed, limit->together)) {
    limit->refused = static_cast<size_t>(length);
    return nullptr;
  }
  limit->together -= static_cast<size_t>(length);
  return Functions::Get().original.createArray(task, length);
}

struct ErrorPrefix {
  std::string_view prefix;
  ErrorReplyMeaning meaning;
};

// Redis's error codes: the first word of an error reply, or more of it where "ERR" stands for many.
constexpr ErrorPrefix kErrorPrefixes[] = {
    {"OOM ", {absl::StatusCode::kResourceExhausted, false}},
    {"WRONGTYPE ", {absl::StatusCode::kFailedPrecondition, false}},
    {"NOAUTH ", {absl::StatusCode::kUnauthenticated, false}},
    {"WRONGPASS ", {absl::StatusCode::kUnauthenticated, false}},
    {"ERR invalid password", {absl::StatusCode::kUnauthenticated, false}},
    {"NOPERM ", {absl::StatusCode::kPermissionDenied, false}},
    // Of a script's commands: version 7.2, 7.0, and those before.
    {"ERR ACL failure in script", {absl::StatusCode::kPermissionDenied, false}},
    {"ERR The user executing the script can't", {absl::StatusCode::kPermissionDenied, false}},
    {"The user executing the script can't", {absl::StatusCode::kPermissionDenied, false}},
    {"DENIED ", {absl::StatusCode::kPermissionDenied, true}},
    {"LOADING ", {absl::StatusCode::kUnavailable, false}},
    {"BUSY ", {absl::StatusCode::kUnavailable, false}},
    {"MASTERDOWN ", {absl::StatusCode::kUnavailable, true}},
    {"CLUSTERDOWN ", {absl::StatusCode::kUnavailable, false}},
    {"TRYAGAIN ", {absl::StatusCode::kUnavailable, false}},
    {"NOREPLICAS ", {absl::StatusCode::kUnavailable, false}},
    {"ERR max number of clients", {absl::StatusCode::kUnavailable, true}},
    {"READONLY ", {absl::StatusCode::kFailedPrecondition, true}},
    {"MISCONF ", {absl::StatusCode::kFailedPrecondition, false}},
    {"MOVED ", {absl::StatusCode::kFailedPrecondition, false}},
    {"ASK ", {absl::StatusCode::kFailedPrecondition, false}},
    {"CROSSSLOT ", {absl::StatusCode::kFailedPrecondition, false}},
    {"ERR DB index is out of range", {absl::StatusCode::kFailedPrecondition, false}},
    {"ERR Protocol error", {absl::StatusCode::kInternal, true}},
    {"NOSCRIPT ", {absl::StatusCode::kAborted, false}},
};

// Before version 7, an error of a command in a script is somewhere in the script's:
// "ERR Error running script (call to f_...): @user_script:7: @user_script: 7: -READONLY You can't".
std::string_view WithoutScript(std::string_view text) {
  constexpr std::string_view kMark = "@user_script: ";
  const size_t mark = text.rfind(kMark);
  if (!text.starts_with("ERR Error running script") || mark == text.npos) return text;
  const size_t colon = text.find(": ", mark + kMark.size());
  if (colon == text.npos) return text;
  text.remove_prefix(colon + 2);
  if (text.starts_with('-')) text.remove_prefix(1);
  return text;
}

}  // namespace

absl::Status CheckReplyKind(const redisReply& reply, const ExpectedReply& expected) {
  if (reply.type == REDIS_REPLY_ERROR) return absl::OkStatus();
  std::string_view wanted;
  bool matches = true;
  switch (expected.kind) {
    case ReplyKind::kStatus:
      wanted = "a status";
      matches = reply.type == REDIS_REPLY_STATUS;
      break;
    case ReplyKind::kOkOrNil:
      wanted = "OK or nil";
      matches = reply.type == REDIS_REPLY_NIL || IsOk(reply);
      break;
    case ReplyKind::kOk:
      wanted = "OK";
      matches = IsOk(reply);
      break;
    case ReplyKind::kString:
      wanted = "a string or nil";
      matches = IsStringOrNil(reply);
      break;
    case ReplyKind::kInteger:
      wanted = "an integer";
      matches = reply.type == REDIS_REPLY_INTEGER;
      break;
    case ReplyKind::kStrings:
      return CheckStrings(reply, expected.elements);
    case ReplyKind::kVerdict:
      return CheckVerdict(reply, expected.token);
    case ReplyKind::kHeads:
      return CheckHeads(reply, expected.token);
    case ReplyKind::kAny:
      break;
  }
  if (matches) return absl::OkStatus();
  return absl::InternalError(Concat("expected ", wanted, ", got ", TypeName(reply.type)));
}

ErrorReplyMeaning MeaningOfErrorReply(std::string_view command, std::string_view text) {
  text = WithoutScript(text);
  for (const ErrorPrefix& known : kErrorPrefixes) {
    if (text.starts_with(known.prefix)) return known.meaning;
  }
  // Servers word it in many ways that AUTH isn't possible ("... called without any password
  // configured").
  if (command == "AUTH") return {absl::StatusCode::kUnauthenticated, false};
  return {absl::StatusCode::kInternal, false};
}

void LimitArrays(redisReader* reader, ArrayLimit* limit) {
  reader->fn = &Functions::Get().limited;
  reader->privdata = limit;
}

}  // namespace larder::internal
