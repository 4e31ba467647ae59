/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "plane/kubeconfig.h"

#include "core/base64.h"
#include "core/clock.h"
#include "core/yaml.h"
#include "host/bootstrap/bootstrap.h"
#include "net/pki.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#define LIFE_MS (INT64_C(365) * 86400000)

/* False: its certificate cannot be read, and nothing is known. */
static bool read_life(const char *text, size_t len, struct pki_info *info)
{
	json_t *doc = NULL;
	struct pcg_error err;
	const char *data;
	AUTO_FREE char *pem = NULL;
	size_t n;
	bool ok;

	if (yaml_load_one(text, len, "kubeconfig", &doc, &err))
		return false;
	data = json_str(doc, "users.0.user.client-certificate-data");
	pem = data ? (char *)base64_decode(data, strlen(data), &n) : NULL;
	json_wipe(doc);
	if (!pem)
		return false;
	pem = realloc(pem, n + 1);
	assert(pem);
	pem[n] = '\0';
	ok = pki_cert_info(pem, info, &err) == 0;
	return ok;
}

int kubeconfig_renew(const char *text, size_t len, const char *cluster_name, const json_t *recovery,
		     struct buf *out, struct pcg_error *err)
{
	const json_t *keys = json_object_get(recovery, "keys"),
		     *endpoint = json_object_get(recovery, "endpoint");
	struct pki_info info;
	int64_t left;
	int r;

	if (!json_str(keys, "ca.key") || !json_str(endpoint, "host") || !read_life(text, len, &info))
		return 0;
	left = info.not_after_ms - clock_wall_ms();
	if (left > (info.not_after_ms - info.not_before_ms) / 3)
		return 0;
	r = bootstrap_kubeconfig(cluster_name, endpoint, keys, LIFE_MS, out, err);
	return r ? pcg_fail_prefix(err, "renewing the kubeconfig of cluster %s", cluster_name) : 1;
}
