/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The certificate of an account's endpoint, against the thumbprint that stands in the objects of clusters that
 * were handed over: their controllers verify by it alone, and stop when it is another one. Nothing is asked for
 * this: it is seen whenever somebody works with the account.
 */
#include "config.h"

#include "host/lifecycle/cluster.h"

#include "core/clock.h"
#include "net/pki.h"

#include <string.h>

void peer_handed_over(struct cluster *c, const json_t *exported)
{
	size_t i;
	json_t *item;

	json_object_del(c->state, "thumbprint");
	json_object_del(c->state, "otherThumbprint");
	json_array_foreach(json_object_get(exported, "objects"), i, item)
		if (!strcmp(json_str_or(item, "role", ""), "cluster") &&
		    json_str(item, "object.spec.thumbprint"))
			json_object_set(c->state, "thumbprint",
					json_at(item, "object.spec.thumbprint"));
}

static bool agrees(const char *handed, const char *sha1, const char *sha256)
{
	char hex[65];
	struct pcg_error err;

	return pki_thumbprint_normal(handed, hex, &err) || !strcmp(hex, sha1) ||
	       !strcmp(hex, sha256);
}

/* AA:BB:.. as the controllers want it. */
static json_t *colons(const char *hex)
{
	char out[3 * 64 + 1], *to = out;

	for (size_t i = 0; hex[i] && i < 64; i++) {
		if (i && i % 2 == 0)
			*to++ = ':';
		*to++ = hex[i] >= 'a' && hex[i] <= 'f' ? (char)(hex[i] - 'a' + 'A') : hex[i];
	}
	*to = '\0';
	return json_string(out);
}

static void look(struct cluster *c, const char *sha1, const char *sha256)
{
	const char *handed = json_str(c->state, "thumbprint");
	bool same = !handed || agrees(handed, sha1, sha256);
	const char *known = json_str(c->state, "otherThumbprint.seen");
	char at[CLOCK_RFC3339_SIZE];
	AUTO_JSON json_t *seen = colons(strlen(handed ? handed : "") > 60 ? sha256 : sha1);
	struct store_batch *b;

	if (same ? !known : known && !strcmp(known, json_string_value(seen)))
		return;
	if (same)
		json_object_del(c->state, "otherThumbprint");
	else
		json_object_set_new(c->state, "otherThumbprint",
				    json_pack("{s:O,s:s}", "seen", seen, "since",
					      clock_rfc3339(clock_wall_ms(), at)));
	cluster_note(c, same ? "endpoint_certificate_as_before" : "endpoint_certificate_changed",
		     json_pack("{s:O,s:s}", "thumbprint", seen, "handedOver", handed ? handed : ""));
	lifecycle_flush_notes(c->l);
	b = store_batch_new(c->l->spec.store);
	cluster_save_into(c, b);
	report_cluster_status(c, b);
	store_batch_commit(b, NULL, NULL);
	cluster_show(c, NULL);
}

void lifecycle_peer(struct lifecycle *l, const char *account, const char *sha1, const char *sha256)
{
	for (size_t i = 0; i < ARRAY_LEN(l->buckets); i++)
		for (struct cluster *c = l->buckets[i]; c; c = c->next)
			if (c->lc.phase == LC_RUNNING && !strcmp(c->account, account))
				look(c, sha1, sha256);
}

json_t *peer_condition(const struct cluster *c)
{
	const json_t *other = json_object_get(c->state, "otherThumbprint");
	const char *handed = json_str_or(c->state, "thumbprint", ""), *seen = json_str(other, "seen");

	if (!seen)
		return NULL;
	return json_pack("{s:s,s:s,s:s,s:n,s:o,s:o}", "type", "EndpointCertificate", "status", "False",
			 "since", json_str_or(other, "since", ""), "nextTry", "cause",
			 json_sprintf("the infrastructure's endpoint shows a certificate with the thumbprint "
				      "%s; the cluster was handed over with %s, and its controllers accept "
				      "no other", seen, handed),
			 "remedy",
			 json_sprintf("if the new certificate is right: in the cluster, set spec.thumbprint of "
				      "VSphereCluster and every VSphereVM to %s, and roll to new "
				      "VSphereMachineTemplates that carry it", seen));
}
