// SPDX-License-Identifier: Apache-2.0
#include "src/tls_context.h"

#include <openssl/err.h>

#include <string_view>
#include <system_error>

#include "absl/status/status.h"
#include "src/openssl.h"
#include "src/text.h"

namespace larder {
namespace internal {
namespace {

absl::Status Invalid(std::string_view field, std::string_view value, std::string_view why) {
  return absl::InvalidArgumentError(Concat("TlsOptions::", field, " is \"", value, "\": ", why));
}

// In place of OpenSSL's own, which asks whoever sits at the terminal.
int NotePassphrase(char*, int, int, void* is_wanted) {
  *static_cast<bool*>(is_wanted) = true;
  return -1;
}

absl::Status UseAuthorities(SSL_CTX* context, const TlsOptions& options) {
  const bool used = options.ca_file.empty() ? SSL_CTX_set_default_verify_paths(context) == 1
                                            : SSL_CTX_load_verify_locations(
                                                  context, options.ca_file.c_str(), nullptr) == 1;
  return used ? absl::OkStatus() : Invalid("ca_file", options.ca_file, TakeTlsError());
}

absl::Status UseCertificate(SSL_CTX* context, const TlsOptions& options) {
  const std::string& certificate = options.certificate_file;
  const std::string& key = options.key_file;
  if (certificate.empty() && key.empty()) return absl::OkStatus();
  if (certificate.empty()) return Invalid("certificate_file", "", "must be set with key_file");
  if (key.empty()) return Invalid("key_file", "", "must be set with certificate_file");
  bool wants_passphrase = false;  // asked for in the calls below only
  SSL_CTX_set_default_passwd_cb(context, NotePassphrase);
  SSL_CTX_set_default_passwd_cb_userdata(context, &wants_passphrase);
  if (SSL_CTX_use_certificate_chain_file(context, certificate.c_str()) != 1) {
    return Invalid("certificate_file", certificate, TakeTlsError());
  }
  if (SSL_CTX_use_PrivateKey_file(context, key.c_str(), SSL_FILETYPE_PEM) != 1) {
    const std::string error = TakeTlsError();
    return Invalid("key_file", key, wants_passphrase ? "it has a passphrase" : error);
  }
  // The call above compares keys of the same kind only.
  if (SSL_CTX_check_private_key(context) != 1) {
    return Invalid("key_file", key, Concat("not the key of \"", certificate, "\""));
  }
  return absl::OkStatus();
}

absl::Status CheckName(const std::string& name) {
  if (name.find('\0') != std::string::npos) {
    return Invalid("server_name", name.c_str(), "must not contain NUL");
  }
  if (name.starts_with('.')) return Invalid("server_name", name, "must not begin with a dot");
  return absl::OkStatus();
}

// At least TLS 1.2; the system's settings may ask for more.
bool RequireVersion(SSL_CTX* context) {
  return SSL_CTX_get_min_proto_version(context) >= TLS1_2_VERSION ||
         SSL_CTX_set_min_proto_version(context, TLS1_2_VERSION) == 1;
}

}  // namespace

std::string TakeTlsError() {
  const unsigned long error = ERR_get_error();
  ERR_clear_error();
  if (error == 0) return "";
  if (ERR_GET_LIB(error) == ERR_LIB_SYS) {
    return std::generic_category().message(static_cast<int>(ERR_GET_REASON(error)));
  }
  const char* const reason = ERR_reason_error_string(error);
  return reason != nullptr ? reason : Concat("OpenSSL's error ", error);
}

absl::StatusOr<TlsContext> MakeTlsContext(const TlsOptions& options) {
  if (absl::Status status = CheckName(options.server_name); !status.ok()) return status;
  const bool initialized = InitializeOpenSsl();
  ERR_clear_error();
  TlsContext context(initialized ? SSL_CTX_new(TLS_client_method()) : nullptr);
  if (context == nullptr || !RequireVersion(context.get())) {
    return absl::ResourceExhaustedError(Concat("TLS: ", TakeTlsError()));
  }
  // A write that must wait for a read would have to know of it.
  SSL_CTX_set_options(context.get(), SSL_OP_NO_RENEGOTIATION);
  SSL_CTX_set_session_cache_mode(context.get(), SSL_SESS_CACHE_OFF);
  // As send(2) does it: what goes now is taken, and the rest may come from elsewhere then.
  SSL_CTX_set_mode(context.get(), SSL_MODE_ENABLE_PARTIAL_WRITE |
                                      SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
                                      SSL_MODE_RELEASE_BUFFERS);
  if (absl::Status status = UseCertificate(context.get(), options); !status.ok()) return status;
  if (!options.verify_server) return context;
  SSL_CTX_set_verify(context.get(), SSL_VERIFY_PEER, nullptr);
  if (absl::Status status = UseAuthorities(context.get(), options); !status.ok()) return status;
  return context;
}

}  // namespace internal

absl::Status TlsOptions::Validate() const { return internal::MakeTlsContext(*this).status(); }

}  // namespace larder
