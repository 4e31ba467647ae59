/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NET_PKI_IMPL_H
#define NET_PKI_IMPL_H

/* What the files of net/pki share: OpenSSL objects from and to PEM. */

#include "core/attr.h"
#include "net/pki.h"

#include <openssl/evp.h>
#include <openssl/x509.h>

/* Each fails with what OpenSSL said. what names the thing: "the CA's key". */
int pki_fail_openssl(struct pcg_error *err, enum pcg_class class, const char *remedy,
		     const char *what);
EVP_PKEY *pki_load_key(const struct secret *pem, const char *what, struct pcg_error *err);
X509 *pki_load_cert(const char *pem, const char *what, struct pcg_error *err);
char *pki_bio_text(BIO *bio); /* frees the BIO */

#endif
