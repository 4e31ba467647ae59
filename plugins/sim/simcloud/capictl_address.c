/* SPDX-License-Identifier: Apache-2.0 */
/* Static addresses as the infrastructure's controllers and the provider of pools give them: a claim for each pool that a
 * machine's device names, an address of that pool which no other object has. */
#include "config.h"

#include "plugins/sim/simcloud/capictl.h"

#include "core/log.h"

#include <string.h>

#define IPAM "ipam.cluster.x-k8s.io"
#define PROTECT "simmachine." CAPI_INFRA "/ip-claim-protection"

struct ipam {
	struct kres *pools, *claims, *addresses;
};

static bool ipam_find(struct capictl *c, struct ipam *i)
{
	i->pools = kres_by_kind(c->k, IPAM, "InClusterIPPool");
	i->claims = kres_by_kind(c->k, IPAM, "IPAddressClaim");
	i->addresses = kres_by_kind(c->k, IPAM, "IPAddress");
	return i->pools && i->claims && i->addresses;
}

static bool address_in_use(const struct ipam *i, const char *pool, const char *address)
{
	const char *key;
	json_t *o;

	json_object_foreach(i->addresses->objects, key, o)
		if (strcmp(json_str_or(o, "spec.poolRef.name", ""), pool) == 0 &&
		    strcmp(json_str_or(o, "spec.address", ""), address) == 0)
			return true;
	return false;
}

static const char *address_free(const struct ipam *i, const json_t *pool)
{
	json_t *a;
	size_t k;

	json_array_foreach(json_at(pool, "spec.addresses"), k, a)
		if (strcmp(json_string_value(a), json_str_or(pool, "spec.gateway", "")) != 0 &&
		    !address_in_use(i, kstore_name(pool), json_string_value(a)))
			return json_string_value(a);
	return NULL;
}

static json_t *address_object(const struct capictl *c, const struct kres *r, const char *name, json_t *spec)
{
	AUTO_FREE char *api_version = kres_api_version(r, NULL);

	return json_pack("{s:s, s:s, s:{s:s, s:s, s:{s:s}}, s:o}", "apiVersion", api_version, "kind", r->kind, "metadata",
			 "name", name, "namespace", c->ns, "labels", CAPI_NAME_LABEL, c->name, "spec", spec);
}

static json_t *address_make(struct capictl *c, const struct ipam *i, const char *name, const json_t *pool, const json_t *ref)
{
	const char *address = address_free(i, pool);
	json_t *claim = kstore_get(i->claims, c->ns, name), *made, *edited;

	if (!address) {
		log_warn("simcloud_pool_exhausted", LS("api", c->k->id), LS("pool", kstore_name(pool)), LS("claim", name));
		return NULL;
	}
	made = kstore_create(c->k, i->addresses,
			     address_object(c, i->addresses, name,
					    json_pack("{s:s, s:O, s:O?, s:{s:s}, s:O}", "address", address, "prefix",
						      json_at(pool, "spec.prefix"), "gateway", json_at(pool, "spec.gateway"),
						      "claimRef", "name", name, "poolRef", ref)));
	capictl_adopt(c, i->addresses, made, i->claims, claim, true, IPAM "/ProtectAddress");
	made = capictl_adopt(c, i->addresses, kstore_get(i->addresses, c->ns, name), i->pools, pool, false, NULL);
	edited = kstore_edit(kstore_get(i->claims, c->ns, name));
	json_put(edited, "status.addressRef", json_pack("{s:s}", "name", name));
	kstore_update(c->k, i->claims, edited);
	return made;
}

static json_t *address_of(struct capictl *c, const struct ipam *i, struct kres *r, const json_t *infra, const json_t *ref,
			  const char *name)
{
	const json_t *pool = kstore_get(i->pools, c->ns, json_str_or(ref, "name", ""));
	json_t *address = kstore_get(i->addresses, c->ns, name), *claim = kstore_get(i->claims, c->ns, name);

	if (!claim)
		claim = kstore_create(c->k, i->claims,
				      address_object(c, i->claims, name, json_pack("{s:O}", "poolRef", ref)));
	capictl_adopt(c, i->claims, claim, r, infra, false, PROTECT);
	capictl_adopt(c, i->claims, kstore_get(i->claims, c->ns, name), NULL, NULL, false, IPAM "/ReleaseAddress");
	return address || !pool ? address : address_make(c, i, name, pool, ref);
}

bool capictl_addresses(struct capictl *c, struct kres *r, const json_t *infra, const char **address)
{
	json_t *device, *ref, *got;
	struct ipam ipam;
	size_t d, n;

	*address = NULL;
	json_array_foreach(json_at(infra, "spec.network.devices"), d, device)
		json_array_foreach(json_object_get(device, "addressesFromPools"), n, ref) {
			AUTO_FREE char *name = NULL;

			if (asprintf(&name, "%s-%zu-%zu", kstore_name(infra), d, n) < 0)
				abort();
			got = ipam_find(c, &ipam) ? address_of(c, &ipam, r, infra, ref, name) : NULL;
			if (!got)
				return false;
			if (!*address)
				*address = json_str(got, "spec.address");
		}
	return true;
}

static void address_drop(struct capictl *c, struct kres *r, const char *name)
{
	AUTO_JSON json_t *held = json_incref(kstore_get(r, c->ns, name));

	if (!held)
		return;
	kstore_delete(c->k, r, held, NULL);
	json_decref(held);
	held = json_incref(kstore_get(r, c->ns, name));
	if (held)
		capictl_drop_finalizers(c, r, held);
}

void capictl_addresses_release(struct capictl *c, const json_t *infra)
{
	json_t *device;
	struct ipam ipam;
	size_t d;

	if (!ipam_find(c, &ipam))
		return;
	json_array_foreach(json_at(infra, "spec.network.devices"), d, device)
		for (size_t n = 0; n < json_array_size(json_object_get(device, "addressesFromPools")); n++) {
			AUTO_FREE char *name = NULL;

			if (asprintf(&name, "%s-%zu-%zu", kstore_name(infra), d, n) < 0)
				abort();
			address_drop(c, ipam.addresses, name);
			address_drop(c, ipam.claims, name);
		}
}
