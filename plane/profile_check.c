/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"
#include "plane/profile_check.h"

#include "core/error.h"
#include "core/yaml.h"
#include "plane/api.h"
#include "plane/document.h"

#include <stdio.h>
#include <string.h>

static bool one_of(const char *text, const char *const *known, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (strcmp(text, known[i]) == 0)
			return true;
	return false;
}

/* A member that is a text where it is there at all. */
static void check_text(const json_t *object, const char *member, const char *at, json_t *fields)
{
	const json_t *value = json_object_get(object, member);
	char field[192];

	if (api_absent(value) || json_is_string(value))
		return;
	snprintf(field, sizeof(field), "%.120s.%.60s", at, member);
	api_field(fields, field, "is not text%s", json_is_number(value) ? ": write it in quotes" : "");
}

static void check_yaml(const char *text, const char *at, json_t *fields)
{
	AUTO_JSON json_t *docs = NULL;
	struct pcg_error err;

	if (text && !strstr(text, "{{") && yaml_load_all(text, strlen(text), "is not YAML", &docs, &err))
		api_field(fields, at, "%.300s", err.text);
}

/* The layers whose values are read here; those of others are for whoever renders the pack. */
static bool is_base(const char *layer)
{
	return strcmp(layer, "k8s") == 0 || strcmp(layer, "os") == 0;
}

static void check_manifests(const json_t *pack, const char *at, json_t *fields)
{
	const json_t *manifests = json_object_get(pack, "manifests");
	json_t *m;
	char field[192];
	size_t k;

	snprintf(field, sizeof(field), "%.120s.manifests", at);
	if (!api_absent(manifests) && !json_is_array(manifests))
		api_field(fields, field, "is not an array");
	json_array_foreach((json_t *)manifests, k, m) {
		snprintf(field, sizeof(field), "%.120s.manifests.%zu", at, k);
		if (!json_str(m, "name") || (!json_str(m, "content") && !json_str(m, "uid")))
			api_field(fields, field, "each manifest needs name and content");
		else
			check_yaml(json_str(m, "content"), field, fields);
	}
}

static void check_pack(const json_t *pack, size_t i, json_t *fields)
{
	static const char *const types[] = { "spectro", "helm", "manifest", "oci" };
	static const char *const layers[] = { "kernel", "os", "k8s", "cni", "cloud-provider", "csi", "addon" };
	static const char *const texts[] = { "type", "layer", "tag", "values", "uid", "registryUid" };
	const char *type = json_str_or(pack, "type", "spectro"), *layer = json_str_or(pack, "layer", "addon");
	const char *name = json_str(pack, "name");
	char at[64], values[96];

	snprintf(at, sizeof(at), "spec.template.packs.%zu", i);
	if (!json_is_object(pack) || !name || !*name) {
		api_field(fields, at, "each pack needs a name");
		return;
	}
	for (size_t k = 0; k < ARRAY_LEN(texts); k++)
		check_text(pack, texts[k], at, fields);
	if (!one_of(type, types, ARRAY_LEN(types)))
		api_field(fields, at, "type '%.32s' is none of spectro, helm, manifest, oci", type);
	if (*layer && !one_of(layer, layers, ARRAY_LEN(layers)))
		api_field(fields, at, "layer '%.32s' is none of os, k8s, cni, cloud-provider, csi, addon, kernel", layer);
	snprintf(values, sizeof(values), "%s.values", at);
	if (is_base(document_layer(pack)))
		check_yaml(json_str(pack, "values"), values, fields);
	check_manifests(pack, at, fields);
}

void profile_check_variables(const json_t *variables, const char *at, json_t *fields)
{
	json_t *v;
	char field[96];
	size_t i;

	if (!json_is_array(variables))
		api_field(fields, at, "is not an array");
	json_array_foreach((json_t *)variables, i, v) {
		snprintf(field, sizeof(field), "%.60s.%zu", at, i);
		if (!json_str(v, "name") || !*json_str(v, "name"))
			api_field(fields, field, "each variable needs a name");
		else
			check_text(v, "defaultValue", field, fields);
	}
}

void profile_check(const json_t *body, json_t *fields)
{
	const json_t *template = json_at(body, "spec.template"), *packs = json_at(body, "spec.template.packs");
	const json_t *variables = json_at(body, "spec.variables");
	const char *name = json_str(body, "metadata.name");
	json_t *pack;
	size_t i;

	if (!name || !*name)
		api_field(fields, "metadata.name", "is missing");
	check_text(json_object_get(body, "spec"), "version", "spec", fields);
	if (!json_is_object(template))
		api_field(fields, "spec.template", "is missing, or not an object");
	else
		check_text(template, "cloudType", "spec.template", fields);
	if (!api_absent(packs) && !json_is_array(packs))
		api_field(fields, "spec.template.packs", "is not an array");
	json_array_foreach((json_t *)packs, i, pack)
		check_pack(pack, i, fields);
	if (!api_absent(variables))
		profile_check_variables(variables, "spec.variables", fields);
}
