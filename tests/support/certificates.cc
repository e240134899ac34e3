// SPDX-License-Identifier: Apache-2.0
#include "tests/support/certificates.h"

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <utility>

#include "larder/internal/random_bits.h"

namespace larder::test {
namespace {

void Check(bool done, const char* what) {
  if (done) return;
  std::fprintf(stderr, "certificates: %s failed\n", what);
  ERR_print_errors_fp(stderr);
  std::abort();
}

void AddExtension(X509* certificate, X509* issuer, int kind, const std::string& value) {
  X509V3_CTX context;
  X509V3_set_ctx(&context, issuer, certificate, nullptr, nullptr, 0);
  X509_EXTENSION* const extension =
      X509V3_EXT_conf_nid(nullptr, &context, kind, const_cast<char*>(value.c_str()));
  Check(extension != nullptr && X509_add_ext(certificate, extension, -1) == 1, "X509_add_ext");
  X509_EXTENSION_free(extension);
}

using File = std::unique_ptr<std::FILE, int (*)(std::FILE*)>;

File Create(const std::string& path) {
  File file(std::fopen(path.c_str(), "w"), &std::fclose);
  Check(file != nullptr, path.c_str());
  return file;
}

}  // namespace

CertificateAuthority::CertificateAuthority(std::string folder, std::string name)
    : folder_(std::move(folder)),
      ca_file_(folder_ + "/" + name + ".pem"),
      key_(MakeKey()),
      certificate_(Sign(name, key_.get(), nullptr, key_.get(), {.names = ""})) {
  Write(ca_file_, certificate_.get());
}

CertificateFiles CertificateAuthority::Issue(const std::string& name,
                                             const CertificateOptions& options) const {
  CertificateFiles files = {folder_ + "/" + name + ".pem", folder_ + "/" + name + ".key"};
  const Key key = MakeKey(options.rsa);
  Write(files.certificate_file,
        Sign(name, key.get(), certificate_.get(), key_.get(), options).get());
  Write(files.key_file, key.get(), options.passphrase);
  return files;
}

CertificateAuthority::Key CertificateAuthority::MakeKey(bool rsa) {
  EVP_PKEY_CTX* const context = EVP_PKEY_CTX_new_id(rsa ? EVP_PKEY_RSA : EVP_PKEY_ED25519, nullptr);
  EVP_PKEY* key = nullptr;
  Check(EVP_PKEY_keygen_init(context) == 1 && EVP_PKEY_keygen(context, &key) == 1,
        "EVP_PKEY_keygen");
  EVP_PKEY_CTX_free(context);
  return Key(key);
}

CertificateAuthority::Certificate CertificateAuthority::Sign(const std::string& name, EVP_PKEY* key,
                                                             X509* issuer, EVP_PKEY* issuer_key,
                                                             const CertificateOptions& options) {
  constexpr long kVersion3 = 2;
  constexpr long kHour = 3600;
  Certificate certificate(X509_new());
  X509* const made = certificate.get();
  if (issuer == nullptr) issuer = made;
  X509_set_version(made, kVersion3);
  ASN1_INTEGER_set_uint64(X509_get_serialNumber(made), internal::RandomBits() >> 1);
  const long until = static_cast<long>(absl::ToInt64Seconds(options.validity));
  X509_gmtime_adj(X509_getm_notBefore(made), std::min(0L, until) - kHour);
  X509_gmtime_adj(X509_getm_notAfter(made), until);
  X509_NAME_add_entry_by_txt(X509_get_subject_name(made), "CN", MBSTRING_ASC,
                             reinterpret_cast<const unsigned char*>(name.c_str()), -1, -1, 0);
  X509_set_issuer_name(made, X509_get_subject_name(issuer));
  X509_set_pubkey(made, key);
  AddExtension(made, issuer, NID_basic_constraints,
               issuer == made ? "critical,CA:TRUE" : "critical,CA:FALSE");
  if (!options.names.empty()) AddExtension(made, issuer, NID_subject_alt_name, options.names);
  Check(X509_sign(made, issuer_key, nullptr) != 0, "X509_sign");
  return certificate;
}

void CertificateAuthority::Write(const std::string& path, X509* certificate) {
  Check(PEM_write_X509(Create(path).get(), certificate) == 1, path.c_str());
}

void CertificateAuthority::Write(const std::string& path, EVP_PKEY* key,
                                 const std::string& passphrase) {
  const EVP_CIPHER* const cipher = passphrase.empty() ? nullptr : EVP_aes_256_cbc();
  Check(PEM_write_PKCS8PrivateKey(Create(path).get(), key, cipher, passphrase.c_str(),
                                  static_cast<int>(passphrase.size()), nullptr, nullptr) == 1,
        path.c_str());
}

}  // namespace larder::test
