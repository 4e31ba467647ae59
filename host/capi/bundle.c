/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"
#include "host/capi/bundle.h"
#include "host/capi/capi.h"
#include "host/capi/envsubst.h"
#include "host/capi/images.h"
#include "host/capi/inventory.h"
#include "core/buf.h"
#include "core/secret.h"
#include "core/yaml.h"

#include <assert.h>
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define TAINT "node-role.kubernetes.io/control-plane"

const struct bundle_part bundle_parts[BUNDLE_PARTS] = {
	{"cert-manager", "cert-manager.yaml", "cert-manager.yaml of a cert-manager release", false},
	{"cluster-api", "core-components.yaml", "core-components.yaml of a Cluster API release",
	 false},
	{"bootstrap-kubeadm", "bootstrap-components.yaml",
	 "bootstrap-components.yaml of a Cluster API release", false},
	{"control-plane-kubeadm", "control-plane-components.yaml",
	 "control-plane-components.yaml of a Cluster API release", false},
	{"infrastructure-", "infrastructure-components.yaml",
	 "infrastructure-components.yaml of a release of that Cluster API infrastructure provider",
	 true},
	{"ipam-in-cluster", "ipam-components.yaml",
	 "ipam-components.yaml of a release of the Cluster API IPAM provider in-cluster", false, true},
};

/* ---- versions ---- */

struct version {
	unsigned long part[3];
	const char *pre; /* after "-", up to "+"; empty: a release */
	size_t pre_len;
};

static bool parse_version(const char *text, struct version *v)
{
	const char *p = text + (*text == 'v');
	char *end;

	memset(v, 0, sizeof(*v));
	for (int i = 0; i < 3; i++) {
		if (!isdigit((unsigned char)*p))
			return false;
		v->part[i] = strtoul(p, &end, 10);
		p = end;
		if (i < 2 && *p++ != '.')
			return false;
	}
	if (*p == '-') {
		v->pre = ++p;
		v->pre_len = strcspn(p, "+");
		return v->pre_len > 0;
	}
	return *p == '\0' || *p == '+';
}

static int compare_identifier(const char *a, size_t na, const char *b, size_t nb)
{
	bool number_a = strspn(a, "0123456789") >= na, number_b = strspn(b, "0123456789") >= nb;
	int c;

	if (number_a != number_b)
		return number_a ? -1 : 1;
	if (number_a && na != nb)
		return na < nb ? -1 : 1;
	c = strncmp(a, b, na < nb ? na : nb);
	return c ? c : (na > nb) - (na < nb);
}

static int compare_pre(const struct version *a, const struct version *b)
{
	const char *p = a->pre, *q = b->pre;
	size_t left_p = a->pre_len, left_q = b->pre_len;

	if (!left_p || !left_q)
		return (left_p == 0) - (left_q == 0);
	while (left_p && left_q) {
		const char *dot_p = memchr(p, '.', left_p), *dot_q = memchr(q, '.', left_q);
		size_t np = dot_p ? (size_t)(dot_p - p) : left_p,
		       nq = dot_q ? (size_t)(dot_q - q) : left_q;
		int c = compare_identifier(p, np, q, nq);

		if (c)
			return c;
		p += np + (dot_p != NULL);
		left_p -= np + (dot_p != NULL);
		q += nq + (dot_q != NULL);
		left_q -= nq + (dot_q != NULL);
	}
	return (left_p > 0) - (left_q > 0);
}

int bundle_version_compare(const char *a, const char *b, bool *ok)
{
	struct version va, vb;

	*ok = parse_version(a, &va) && parse_version(b, &vb);
	if (!*ok)
		return 0;
	for (int i = 0; i < 3; i++)
		if (va.part[i] != vb.part[i])
			return va.part[i] < vb.part[i] ? -1 : 1;
	return compare_pre(&va, &vb);
}

/* ---- files ---- */

static char *newest_version(const char *folder)
{
	DIR *d = opendir(folder);
	struct dirent *e;
	char *best = NULL;
	bool ok;

	if (!d)
		return NULL;
	while ((e = readdir(d))) {
		if (e->d_name[0] == '.' || (bundle_version_compare(e->d_name, e->d_name, &ok), !ok))
			continue;
		if (best && bundle_version_compare(e->d_name, best, &ok) <= 0)
			continue;
		free(best);
		best = strdup(e->d_name);
		assert(best);
	}
	closedir(d);
	return best;
}

int bundle_find(const char *dir, const char *provider, const struct bundle_part *part, char **path,
		char **version, struct pcg_error *err)
{
	AUTO_FREE char *folder = NULL;
	AUTO_FREE char *file = NULL;
	AUTO_FREE char *newest = NULL;
	char remedy[512];
	int n;

	n = asprintf(&folder, "%s/%s%s", dir, part->folder, part->infrastructure ? provider : "");
	assert(n > 0);
	newest = newest_version(folder);
	snprintf(remedy, sizeof(remedy), "put %s there as VERSION/%s", part->asset, part->file);
	if (!newest)
		return pcg_fail(err, PCG_CLASS_PERMANENT, remedy, "bundle: no version in %s",
				folder);
	n = asprintf(&file, "%s/%s/%s", folder, newest, part->file);
	assert(n > 0);
	if (access(file, R_OK))
		return pcg_fail(err, PCG_CLASS_PERMANENT, remedy, "bundle: %s: %s", file,
				strerror(errno));
	*path = TAKE(file);
	*version = TAKE(newest);
	return 0;
}

int capi_bundle_check(const char *dir, const char *provider, bool addresses, struct pcg_error *err)
{
	char list[900] = "", remedy[500] = "";
	size_t used = 0, told = 0;
	struct pcg_error one;
	int missing = 0;

	for (size_t i = 0; i < BUNDLE_PARTS; i++) {
		AUTO_FREE char *path = NULL;
		AUTO_FREE char *version = NULL;

		if (bundle_parts[i].addresses && !addresses)
			continue;
		if (bundle_find(dir, provider, &bundle_parts[i], &path, &version, &one) == 0)
			continue;
		used += (size_t)snprintf(list + used, sizeof(list) - used, "%s%s",
					 missing ? "; " : "", one.text);
		told += (size_t)snprintf(remedy + told, sizeof(remedy) - told, "%s%s",
					 missing ? "; " : "", one.remedy);
		missing++;
		if (used >= sizeof(list) || told >= sizeof(remedy))
			break;
	}
	if (!missing)
		return 0;
	return pcg_fail(err, PCG_CLASS_PERMANENT, remedy, "%s", list);
}

static int read_file(const char *path, struct buf *out, struct pcg_error *err)
{
	AUTO_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC);
	char block[65536];
	ssize_t n;

	if (fd < 0)
		return pcg_fail_errno(err, errno, "bundle: open %s", path);
	while ((n = read(fd, block, sizeof(block))) > 0)
		buf_add(out, block, (size_t)n);
	if (n < 0)
		return pcg_fail_errno(err, errno, "bundle: read %s", path);
	if (out->overflow)
		return pcg_fail(err, PCG_CLASS_PERMANENT, "take the file of the release",
				"bundle: %s is larger than %d bytes", path, MANIFEST_MAX);
	return 0;
}

/* ---- objects ---- */

static bool is_workload(const json_t *object)
{
	static const char *const kinds[] = {"Deployment", "Job", "StatefulSet", "DaemonSet"};

	for (size_t i = 0; i < ARRAY_LEN(kinds); i++)
		if (strcmp(json_str_or(object, "kind", ""), kinds[i]) == 0)
			return true;
	return false;
}

bool bundle_tolerates(const json_t *workload)
{
	json_t *t;
	size_t i;

	json_array_foreach (json_at(workload, "spec.template.spec.tolerations"), i, t) {
		const char *key = json_str(t, "key"), *effect = json_str_or(t, "effect", "");

		if (*effect && strcmp(effect, "NoSchedule") != 0)
			continue;
		if (!key ? strcmp(json_str_or(t, "operator", ""), "Exists") == 0
			 : strcmp(key, TAINT) == 0)
			return true;
	}
	return false;
}

static void add_toleration(json_t *workload)
{
	json_t *pod = json_at(workload, "spec.template.spec"), *list;

	if (!json_is_object(pod) || bundle_tolerates(workload))
		return;
	list = json_object_get(pod, "tolerations");
	if (!json_is_array(list)) {
		list = json_array();
		json_object_set_new(pod, "tolerations", list);
	}
	json_array_append_new(list, json_pack("{s:s,s:s,s:s}", "key", TAINT, "operator", "Exists",
					      "effect", "NoSchedule"));
}

static void add_label(json_t *object, const char *key, const char *value)
{
	json_t *metadata = json_object_get(object, "metadata"), *labels;

	if (!json_is_object(metadata))
		return;
	labels = json_object_get(metadata, "labels");
	if (!json_is_object(labels)) {
		labels = json_object();
		json_object_set_new(metadata, "labels", labels);
	}
	if (!json_object_get(labels, key))
		json_object_set_new(labels, key, json_string(value));
}

static void annotate(json_t *object, const char *key, const char *value)
{
	json_t *metadata = json_object_get(object, "metadata"), *annotations;

	if (!json_is_object(metadata))
		return;
	annotations = json_object_get(metadata, "annotations");
	if (!json_is_object(annotations)) {
		annotations = json_object();
		json_object_set_new(metadata, "annotations", annotations);
	}
	json_object_set_new(annotations, key, json_string(value));
}

static bool is_cert_manager(const struct bundle_part *part)
{
	return strcmp(part->folder, "cert-manager") == 0;
}

/* What clusterctl adds on installing: later moves and upgrades with it find the components by
 * these. */
static void label_component(json_t *object, const struct bundle_part *part, const char *provider,
			    const char *version)
{
	char name[160];

	add_label(object, "clusterctl.cluster.x-k8s.io", "");
	if (is_cert_manager(part)) {
		add_label(object, "clusterctl.cluster.x-k8s.io/core", "cert-manager");
		annotate(object, "cert-manager.clusterctl.cluster.x-k8s.io/version", version);
		return;
	}
	snprintf(name, sizeof(name), "%s%s", part->folder, part->infrastructure ? provider : "");
	add_label(object, "cluster.x-k8s.io/provider", name);
}

struct preparation {
	const struct bundle_options *options;
	const struct bundle_part *part;
	const char *version, *path;
};

static int substitute(const void *arg, const char *text, size_t len, struct buf *out, struct pcg_error *err)
{
	const struct preparation *p = arg;

	return envsubst_expand(text, len, p->path, p->options->variables, out, err);
}

static void prepare(json_t *objects, const void *arg)
{
	const struct preparation *p = arg;
	const char *images = p->options->image_repository;
	json_t *o;
	size_t i;

	json_array_foreach (objects, i, o) {
		label_component(o, p->part, p->options->provider, p->version);
		if (!is_workload(o))
			continue;
		add_toleration(o);
		if (images && *images)
			images_move(o, images);
	}
}

/* All that the objects of a text depend on; caller wipes and frees. */
static char *preparation_kind(const struct preparation *p, size_t *len)
{
	const char *images = p->options->image_repository;
	json_t *all = json_pack("[s,s,s,s?,O?]", p->part->folder, p->options->provider, p->version, images,
				p->options->variables);
	char *kind = json_text_secret(all, len);

	json_decref(all);
	return kind;
}

/* As clusterctl has it, the certificate manager's file holds no variables. */
static int read_part_objects(const struct preparation *p, struct manifest **objects, struct pcg_error *err)
{
	const struct manifest_making making = {
		.expand = is_cert_manager(p->part) ? NULL : substitute,
		.prepare = prepare,
		.arg = p,
	};
	struct buf raw;
	size_t len;
	char *kind;
	int r;

	buf_init(&raw, MANIFEST_MAX);
	r = read_file(p->path, &raw, err);
	if (r == 0) {
		kind = preparation_kind(p, &len);
		r = manifest_get(kind, raw.data, raw.len, p->path, &making, objects, err);
		secret_wipe(kind, len);
		free(kind);
	}
	buf_free(&raw);
	return r;
}

int bundle_load(const char *dir, const struct bundle_options *options,
		const struct bundle_part *part, struct manifest **objects, json_t **inventory,
		struct pcg_error *err)
{
	AUTO_FREE char *path = NULL;
	AUTO_FREE char *version = NULL;
	int r = bundle_find(dir, options->provider, part, &path, &version, err);
	struct preparation preparation = {
		.options = options, .part = part, .version = version, .path = path};

	if (r == 0)
		r = read_part_objects(&preparation, objects, err);
	if (r == 0 && inventory)
		*inventory = inventory_entry(part, options->provider, version,
					     manifest_objects(*objects));
	return r;
}

/* ---- for people ---- */

static json_t *missing_part(const struct bundle_part *part, const char *name,
			    const struct pcg_error *err)
{
	return json_pack("{s:s,s:s,s:b,s:s,s:s,s:s}", "component", name, "file", part->file,
			 "missing", 1, "from", part->asset, "cause", err->text, "remedy",
			 err->remedy);
}

static int read_part(const char *path, const struct bundle_part *part, json_t *out,
		     struct pcg_error *err)
{
	AUTO_JSON json_t *docs = NULL;
	json_t *variables = json_array(), *images = json_array(), *o;
	struct buf raw;
	size_t i;
	int r;

	json_object_set_new(out, "variables", variables);
	json_object_set_new(out, "images", images);
	buf_init(&raw, MANIFEST_MAX);
	r = read_file(path, &raw, err);
	if (r == 0 && !is_cert_manager(part)) {
		json_t *asked = NULL;

		r = envsubst_variables(raw.data, raw.len, path, &asked, err);
		if (r == 0)
			json_object_set_new(out, "variables", asked);
	}
	if (r == 0)
		r = yaml_load_all(raw.data, raw.len, path, &docs, err);
	buf_free(&raw);
	json_array_foreach (docs, i, o)
		if (is_workload(o))
			images_list(o, images);
	return r;
}

static json_t *shown_part(const char *dir, const char *provider, const struct bundle_part *part)
{
	AUTO_FREE char *path = NULL;
	AUTO_FREE char *version = NULL;
	struct pcg_error err;
	char name[160];
	json_t *out;

	snprintf(name, sizeof(name), "%s%s", part->folder, part->infrastructure ? provider : "");
	if (bundle_find(dir, provider, part, &path, &version, &err))
		return missing_part(part, name, &err);
	out = json_pack("{s:s,s:s,s:s,s:s}", "component", name, "version", version, "file",
			part->file, "path", path);
	if (read_part(path, part, out, &err)) {
		json_object_set_new(out, "cause", json_string(err.text));
		json_object_set_new(out, "remedy", json_string(err.remedy));
	}
	return out;
}

/* One that not every cluster needs: that it is not there is no fault of the folder. */
static json_t *optional_part(const char *dir, const struct bundle_part *part)
{
	json_t *out = shown_part(dir, "", part);

	json_object_set_new(out, "optional", json_true());
	if (json_bool_or(out, "missing", false)) {
		json_object_set_new(out, "note", json_string("clusters with static addresses need it"));
		json_object_del(out, "cause");
		json_object_del(out, "remedy");
	}
	return out;
}

static int by_name(const struct dirent **a, const struct dirent **b)
{
	return strcmp((*a)->d_name, (*b)->d_name);
}

static int is_infrastructure(const struct dirent *e)
{
	return strncmp(e->d_name, "infrastructure-", 15) == 0 && e->d_name[15];
}

json_t *bundle_show(const char *dir)
{
	const struct bundle_part *infrastructure = &bundle_parts[BUNDLE_INFRASTRUCTURE];
	json_t *items = json_array();
	struct dirent **found = NULL;
	int n;

	for (size_t i = 0; i < BUNDLE_PARTS; i++)
		if (!bundle_parts[i].infrastructure && !bundle_parts[i].addresses)
			json_array_append_new(items, shown_part(dir, "", &bundle_parts[i]));
	n = scandir(dir, &found, is_infrastructure, by_name);
	for (int i = 0; i < n; i++) {
		json_array_append_new(items,
				      shown_part(dir, found[i]->d_name + 15, infrastructure));
		free(found[i]);
	}
	free(found);
	if (n <= 0)
		json_array_append_new(items, shown_part(dir, "NAME", infrastructure));
	for (size_t i = 0; i < BUNDLE_PARTS; i++)
		if (bundle_parts[i].addresses)
			json_array_append_new(items, optional_part(dir, &bundle_parts[i]));
	return json_pack("{s:s,s:o}", "dir", dir, "items", items);
}
