/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"
#include "net/pki_impl.h"

#include <openssl/x509v3.h>
#include <pthread.h>
#include <string.h>

/* A cluster's CA signs several times, and verifies what it signed, within moments; OpenSSL takes
 * longer to read a certificate than to sign one. Nothing secret; any thread. */
#define KEPT 32

static struct {
	char *pem;
	X509 *cert;
	bool whole;
} kept[KEPT];
static unsigned kept_next;
static pthread_mutex_t kept_lock = PTHREAD_MUTEX_INITIALIZER;

static size_t place_of(const char *pem)
{
	size_t i = 0;

	while (i < KEPT && (!kept[i].pem || strcmp(kept[i].pem, pem)))
		i++;
	return i;
}

void pki_keep_ca(const char *pem, X509 *cert, bool whole)
{
	char *copy;
	size_t i;

	/* Works out what the certificate may be used for, which would else be done in each thread. */
	if (X509_check_purpose(cert, -1, 0) != 1 || X509_check_ca(cert) != 1)
		return;
	copy = strdup(pem);
	if (!copy)
		abort();
	pthread_mutex_lock(&kept_lock);
	i = place_of(pem);
	if (i == KEPT) {
		i = kept_next;
		kept_next = (kept_next + 1) % KEPT;
	}
	free(kept[i].pem);
	X509_free(kept[i].cert);
	X509_up_ref(cert);
	kept[i].pem = copy;
	kept[i].cert = cert;
	kept[i].whole = whole;
	pthread_mutex_unlock(&kept_lock);
}

X509 *pki_kept_ca(const char *pem, bool whole)
{
	X509 *cert = NULL;
	size_t i;

	pthread_mutex_lock(&kept_lock);
	i = place_of(pem);
	if (i < KEPT && (kept[i].whole || !whole)) {
		cert = kept[i].cert;
		X509_up_ref(cert);
	}
	pthread_mutex_unlock(&kept_lock);
	return cert;
}
