/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"
#include "host/capi/inventory.h"

#include <stdio.h>
#include <string.h>

#define GROUP "clusterctl.cluster.x-k8s.io"
#define API GROUP "/v1alpha3"
#define CORE_LABEL GROUP "/core"

static const struct {
	const char *prefix, *type;
} types[] = {
	{"bootstrap-", "BootstrapProvider"},
	{"control-plane-", "ControlPlaneProvider"},
	{"infrastructure-", "InfrastructureProvider"},
	{"ipam-", "IPAMProvider"},
};

static json_t *text_schema(void)
{
	return json_pack("{s:s}", "type", "string");
}

static json_t *schema(void)
{
	return json_pack("{s:s,s:{s:o,s:o,s:{s:s},s:o,s:o,s:o,s:o}}", "type", "object",
			 "properties", "apiVersion", text_schema(), "kind", text_schema(),
			 "metadata", "type", "object", "providerName", text_schema(), "type",
			 text_schema(), "version", text_schema(), "watchedNamespace",
			 text_schema());
}

static json_t *column(const char *name, const char *path, const char *type)
{
	return json_pack("{s:s,s:s,s:s}", "name", name, "jsonPath", path, "type", type);
}

json_t *inventory_definition(void)
{
	json_t *columns = json_pack("[o,o,o,o]", column("Age", ".metadata.creationTimestamp", "date"),
				    column("Type", ".type", "string"),
				    column("Provider", ".providerName", "string"),
				    column("Version", ".version", "string"));
	json_t *version = json_pack("{s:s,s:b,s:b,s:{s:o},s:o}", "name", "v1alpha3", "served", 1,
				    "storage", 1, "schema", "openAPIV3Schema", schema(),
				    "additionalPrinterColumns", columns);

	return json_pack("{s:s,s:s,s:{s:s,s:{s:s}},s:{s:s,s:s,s:{s:s,s:s,s:s,s:s,s:[s]},s:[o]}}",
			 "apiVersion", "apiextensions.k8s.io/v1", "kind",
			 "CustomResourceDefinition", "metadata", "name", "providers." GROUP,
			 "labels", CORE_LABEL, "inventory", "spec", "group", GROUP, "scope",
			 "Namespaced", "names", "kind", "Provider", "listKind", "ProviderList",
			 "plural", "providers", "singular", "provider", "categories", "cluster-api",
			 "versions", version);
}

static const char *namespace_of(const json_t *objects)
{
	size_t i;
	json_t *o;

	json_array_foreach (objects, i, o)
		if (strcmp(json_str_or(o, "kind", ""), "Namespace") == 0)
			return json_str(o, "metadata.name");
	return NULL;
}

json_t *inventory_entry(const struct bundle_part *part, const char *provider, const char *version,
			const json_t *objects)
{
	const char *ns = namespace_of(objects), *type = "CoreProvider", *short_name;
	char name[160];

	if (strcmp(part->folder, "cert-manager") == 0 || !ns)
		return NULL;
	snprintf(name, sizeof(name), "%s%s", part->folder, part->infrastructure ? provider : "");
	short_name = name;
	for (size_t i = 0; i < ARRAY_LEN(types); i++)
		if (strncmp(name, types[i].prefix, strlen(types[i].prefix)) == 0) {
			type = types[i].type;
			short_name = name + strlen(types[i].prefix);
		}
	return json_pack("{s:s,s:s,s:{s:s,s:s,s:{s:s,s:s,s:s}},s:s,s:s,s:s}", "apiVersion",
			 API, "kind", "Provider", "metadata", "name", name,
			 "namespace", ns, "labels", GROUP, "", "cluster.x-k8s.io/provider", name,
			 CORE_LABEL, "inventory", "providerName", short_name, "type", type,
			 "version", version);
}
