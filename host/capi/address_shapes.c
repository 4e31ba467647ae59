/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"
#include "host/capi/address_shapes.h"

#include <string.h>

static json_t *object(const char *api, const char *kind, const char *name, const char *finalizer, json_t *spec)
{
	return json_pack("{s:s,s:s,s:{s:s,s:[s]},s:o}", "apiVersion", api, "kind", kind, "metadata", "name", name,
			 "finalizers", finalizer, "spec", spec);
}

static json_t *marked(const struct shapes *s, json_t *o)
{
	shape_mark(s, o);
	return o;
}

/* The provider keeps first and last address of a network back; in one of at most two there is nothing else, and the plane
 * gives both. */
static bool is_tiny(int64_t prefix, const char *address)
{
	return prefix >= (strchr(address, ':') ? 127 : 31);
}

json_t *address_shape_pool(const struct shapes *s, const json_t *pool)
{
	int64_t prefix = json_int_or(pool, "prefix", 0);
	json_t *spec = json_pack("{s:O,s:I}", "addresses", json_object_get(pool, "addresses"), "prefix", (json_int_t)prefix);

	if (*json_str_or(pool, "gateway", ""))
		json_put_str(spec, "gateway", json_str(pool, "gateway"));
	if (is_tiny(prefix, json_str_or(pool, "addresses.0", "")))
		json_object_set_new(spec, "allocateReservedIPAddresses", json_true());
	return marked(s, object(CAPI_IPAM_POOL_API, CAPI_IPAM_POOL, json_str_or(pool, "object", ""),
				CAPI_IPAM_GROUP "/ProtectPool", spec));
}

static json_t *pool_reference(const json_t *address)
{
	return json_pack("{s:s,s:s,s:s}", "apiGroup", CAPI_IPAM_GROUP, "kind", CAPI_IPAM_POOL, "name",
			 json_str_or(address, "pool", ""));
}

json_t *address_shape_claim(const struct shapes *s, const char *name, const json_t *address, const char *finalizer)
{
	json_t *o = object(CAPI_IPAM_API, "IPAddressClaim", name, CAPI_IPAM_GROUP "/ReleaseAddress",
			   json_pack("{s:o}", "poolRef", pool_reference(address)));

	if (*finalizer)
		json_array_insert_new(json_at(o, "metadata.finalizers"), 0, json_string(finalizer));
	return marked(s, o);
}

json_t *address_shape_claim_status(const char *name)
{
	return json_pack("{s:{s:s}}", "addressRef", "name", name);
}

json_t *address_shape_address(const struct shapes *s, const char *name, const json_t *address)
{
	json_t *spec = json_pack("{s:s,s:I,s:{s:s},s:o}", "address", json_str_or(address, "address", ""), "prefix",
				 (json_int_t)json_int_or(address, "prefix", 0), "claimRef", "name", name, "poolRef",
				 pool_reference(address));

	if (*json_str_or(address, "gateway", ""))
		json_put_str(spec, "gateway", json_str(address, "gateway"));
	return marked(s, object(CAPI_IPAM_API, "IPAddress", name, CAPI_IPAM_GROUP "/ProtectAddress", spec));
}
