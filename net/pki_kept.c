/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"
#include "net/pki_impl.h"

#include <openssl/x509v3.h>
#include <pthread.h>
#include <string.h>

/* A cluster's CA signs several times, and verifies what it signed, within moments; OpenSSL takes
 * longer to read a certificate than to sign one. Three of each of hundreds of clusters that are built
 * at the same time; forgotten at rest. Nothing secret; any thread. */

static struct {
	char *pem;
	X509 *cert;
	bool whole;
} kept[PKI_KEPT];
static uint64_t kept_sums[PKI_KEPT]; /* of the texts, apart from them: these are what is searched */
static unsigned kept_n, kept_next;
static pthread_mutex_t kept_lock = PTHREAD_MUTEX_INITIALIZER;

/* FNV-1a */
static uint64_t sum_of(const char *pem)
{
	uint64_t sum = 14695981039346656037u;

	for (; *pem; pem++)
		sum = (sum ^ (unsigned char)*pem) * 1099511628211u;
	return sum;
}

static size_t place_of(const char *pem)
{
	uint64_t sum = sum_of(pem);

	for (size_t i = 0; i < kept_n; i++)
		if (kept_sums[i] == sum && !strcmp(kept[i].pem, pem))
			return i;
	return PKI_KEPT;
}

void pki_forget(void)
{
	pthread_mutex_lock(&kept_lock);
	for (size_t i = 0; i < kept_n; i++) {
		free(kept[i].pem);
		X509_free(kept[i].cert);
		kept[i].pem = NULL;
		kept[i].cert = NULL;
	}
	kept_n = kept_next = 0;
	pthread_mutex_unlock(&kept_lock);
}

/* A text stands for one certificate: with more of them it is read anew. */
static bool is_single(const char *pem)
{
	static const char begin[] = "-----BEGIN";
	const char *first = strstr(pem, begin);

	return first && !strstr(first + sizeof(begin), begin);
}

void pki_keep_ca(const char *pem, X509 *cert, bool whole)
{
	char *copy;
	size_t i;

	if (!is_single(pem))
		return;

	/* Works out what the certificate may be used for, which would else be done in each thread. */
	if (X509_check_purpose(cert, -1, 0) != 1 || X509_check_ca(cert) != 1)
		return;
	copy = strdup(pem);
	if (!copy)
		abort();
	pthread_mutex_lock(&kept_lock);
	i = place_of(pem);
	if (i == PKI_KEPT) {
		i = kept_next;
		kept_next = (kept_next + 1) % PKI_KEPT;
		if (kept_n < PKI_KEPT)
			kept_n++;
	}
	kept_sums[i] = sum_of(pem);
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
	if (i < PKI_KEPT && (kept[i].whole || !whole)) {
		cert = kept[i].cert;
		X509_up_ref(cert);
	}
	pthread_mutex_unlock(&kept_lock);
	return cert;
}
