/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"
#include "host/capi/serving_ca.h"
#include "core/base64.h"
#include "net/pki.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* name NULL: the first of that kind */
static const json_t *find(const json_t *plan, const char *kind, const char *name)
{
	json_t *entry;
	size_t i;

	json_array_foreach (json_object_get(plan, "objects"), i, entry) {
		const json_t *o = json_object_get(entry, "object");

		if (strcmp(json_str_or(o, "kind", ""), kind) == 0 &&
		    (!name || strcmp(json_str_or(o, "metadata.name", ""), name) == 0))
			return o;
	}
	return NULL;
}

/* NULL: there is none. Caller frees. */
static char *certificate_of(const json_t *secret)
{
	const char *data =
		json_string_value(json_object_get(json_object_get(secret, "data"), "tls.crt"));
	size_t len;
	char *pem = data ? (char *)base64_decode(data, strlen(data), &len) : NULL;

	if (!pem)
		return NULL;
	pem = realloc(pem, len + 1);
	assert(pem);
	pem[len] = '\0';
	return pem;
}

int serving_ca_check(const json_t *plan, const char *serving_pem, struct pcg_error *err)
{
	const json_t *cluster = find(plan, "Cluster", NULL);
	struct pki_info written, serving;
	AUTO_FREE char *pem = NULL;
	char name[300];
	int r;

	if (!cluster)
		return pcg_fail(err, PCG_CLASS_BUG, "", "a plan without a Cluster");
	snprintf(name, sizeof(name), "%s-ca", json_str(cluster, "metadata.name"));
	pem = certificate_of(find(plan, "Secret", name));
	if (!pem)
		return pcg_fail(err, PCG_CLASS_BUG, "", "a plan without the Secret %s", name);
	if (strcmp(pem, serving_pem) == 0)
		return 0;
	r = pki_cert_info(pem, &written, err);
	if (r)
		return pcg_fail_prefix(err, "Secret %s", name);
	r = pki_cert_info(serving_pem, &serving, err);
	if (r)
		return pcg_fail_prefix(err, "the CA that the API was verified against");
	if (strcmp(written.sha256, serving.sha256) != 0)
		return pcg_fail(err, PCG_CLASS_PERMANENT,
				"nothing was written; the keys of this cluster must be the ones it "
				"was built with",
				"Secret %s would hold another CA (%s) than the one that serves the "
				"API (%s)",
				name, written.sha256, serving.sha256);
	return 0;
}
