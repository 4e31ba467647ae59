/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"
#include "host/capi/path.h"

#include <assert.h>
#include <ctype.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static char *text(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

static char *text(const char *fmt, ...)
{
	char *out = NULL;
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vasprintf(&out, fmt, ap);
	va_end(ap);
	assert(n >= 0);
	return out;
}

static const char *const cluster_scoped[] = {
	"Namespace",
	"Node",
	"PersistentVolume",
	"CustomResourceDefinition",
	"ClusterRole",
	"ClusterRoleBinding",
	"VSphereClusterIdentity",
	"VSphereDeploymentZone",
	"VSphereFailureDomain",
	"OpenStackClusterIdentity",
};

static bool is_cluster_scoped(const char *kind)
{
	for (size_t i = 0; i < ARRAY_LEN(cluster_scoped); i++)
		if (strcmp(kind, cluster_scoped[i]) == 0)
			return true;
	return false;
}

char *path_plural(const char *kind)
{
	size_t n = strlen(kind);
	const char *end = "s";
	char *out;

	if (n && kind[n - 1] == 'y' && n > 1 && !strchr("aeiou", kind[n - 2]))
		end = "ies";
	else if (n && (kind[n - 1] == 's' || kind[n - 1] == 'x'))
		end = "es";
	out = text("%.*s%s", (int)(strcmp(end, "ies") == 0 ? n - 1 : n), kind, end);
	for (char *c = out; *c; c++)
		*c = (char)tolower((unsigned char)*c);
	return out;
}

char *path_collection(const char *api_version, const char *kind, const char *ns)
{
	AUTO_FREE char *plural = path_plural(kind);
	const char *root = strchr(api_version, '/') ? "apis" : "api";

	if (!ns || is_cluster_scoped(kind))
		return text("/%s/%s/%s", root, api_version, plural);
	return text("/%s/%s/namespaces/%s/%s", root, api_version, ns, plural);
}

char *path_object(const char *api_version, const char *kind, const char *ns, const char *name)
{
	AUTO_FREE char *collection = path_collection(api_version, kind, ns);

	return text("%s/%s", collection, name);
}

char *path_of(const json_t *object)
{
	return path_object(json_str(object, "apiVersion"), json_str(object, "kind"),
			   json_str(object, "metadata.namespace"),
			   json_str(object, "metadata.name"));
}

char *path_of_collection(const json_t *object)
{
	return path_collection(json_str(object, "apiVersion"), json_str(object, "kind"),
			       json_str(object, "metadata.namespace"));
}

char *path_label(const json_t *object)
{
	return text("%s/%s", json_str_or(object, "kind", "?"),
		    json_str_or(object, "metadata.name", "?"));
}

char *path_group(const char *api_version)
{
	const char *slash = strchr(api_version, '/');

	return text("%.*s", slash ? (int)(slash - api_version) : 0, api_version);
}
