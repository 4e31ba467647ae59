/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"
#include "plane/document.h"

#include "core/utf8.h"
#include "core/yaml.h"

#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#define VALUES_MAX (1u << 20)
#define FILE_MAX (4u << 20)
#define PROBLEM_MAX 511

void document_problem(json_t *problems, const char *field, const char *remedy, const char *fmt, ...)
{
	AUTO_FREE char *text = NULL;
	json_t *one = json_object();
	va_list ap;

	va_start(ap, fmt);
	text = utf8_format(PROBLEM_MAX, fmt, ap);
	va_end(ap);
	json_put_str(one, "field", field);
	json_put_str(one, "text", text);
	json_put_str(one, "remedy", remedy);
	json_add(problems, one);
}

const char *document_layer(const json_t *pack)
{
	static const struct {
		const char *prefix, *layer;
	} by_name[] = {
		{ "kubernetes", "k8s" },  { "edge-k8s", "k8s" },     { "ubuntu", "os" },
		{ "rhel", "os" },         { "rockylinux", "os" },    { "sles", "os" },
		{ "flatcar", "os" },      { "cni-", "cni" },         { "csi-", "csi" },
		{ "cloud-provider", "cloud-provider" },
	};
	static const char *const known[] = { "k8s", "os", "cni", "cloud-provider", "csi", "addon" };
	const char *layer = json_str(pack, "layer"), *name = json_str_or(pack, "name", "");

	for (size_t i = 0; layer && i < ARRAY_LEN(known); i++)
		if (strcmp(layer, known[i]) == 0)
			return known[i];
	if (layer && *layer)
		return "addon";
	for (size_t i = 0; i < ARRAY_LEN(by_name); i++)
		if (strncmp(name, by_name[i].prefix, strlen(by_name[i].prefix)) == 0)
			return by_name[i].layer;
	return "addon";
}

bool document_kubernetes_version(const char *tag, char out[32])
{
	unsigned int a, b, c;
	int used = 0;

	if (!tag)
		return false;
	if (*tag == 'v')
		tag++;
	if (sscanf(tag, "%3u.%3u.%3u%n", &a, &b, &c, &used) != 3 || tag[used] ||
	    tag[strspn(tag, "0123456789.")] || a < 1)
		return false;
	snprintf(out, 32, "v%u.%u.%u", a % 1000, b % 1000, c % 1000);
	return true;
}

/* "{{.spectro.var.NAME}}" at s, blanks inside allowed: its length, and where NAME is; else 0. */
static size_t variable_at(const char *s, const char **name, size_t *name_len)
{
	static const char prefix[] = ".spectro.var.";
	const char *at = s + 2;

	if (strncmp(s, "{{", 2) != 0)
		return 0;
	at += strspn(at, " ");
	if (strncmp(at, prefix, sizeof(prefix) - 1) != 0)
		return 0;
	*name = at + sizeof(prefix) - 1;
	*name_len = strcspn(*name, " }");
	at = *name + *name_len;
	at += strspn(at, " ");
	return strncmp(at, "}}", 2) == 0 ? (size_t)(at + 2 - s) : 0;
}

char *document_substitute(const char *text, const json_t *vars, const char *field, json_t *problems)
{
	struct buf out;

	buf_init(&out, FILE_MAX);
	while (*text) {
		const char *name = NULL, *next;
		size_t name_len = 0, n = variable_at(text, &name, &name_len);
		AUTO_FREE char *key = NULL;
		const char *value;

		if (!n) {
			next = strstr(text + 1, "{{");
			n = next ? (size_t)(next - text) : strlen(text);
			buf_add(&out, text, n);
			text += n;
			continue;
		}
		key = strndup(name, name_len);
		assert(key);
		value = json_string_value(json_object_get(vars, key));
		if (value)
			buf_adds(&out, value);
		else
			document_problem(problems, field,
					 "give the variable a value in the cluster's profiles[].variables",
					 "variable '%.64s' has no value", key);
		text += n;
	}
	if (out.overflow) {
		document_problem(problems, field, "make it smaller", "larger than %u bytes", FILE_MAX);
		buf_free(&out);
		return strdup("");
	}
	return buf_take(&out);
}

static bool safe_name(const char *s)
{
	return s && *s && *s != '.' && !strstr(s, "..") &&
	       s[strspn(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-")] == 0;
}

/* NULL: *why says why not. */
static char *read_file(const char *dir, const char *name, const char **why)
{
	AUTO_FREE char *path = NULL;
	AUTO_CLOSE int fd = -1;
	struct buf b;
	char chunk[16384];
	ssize_t n = asprintf(&path, "%s/%s", dir, name);

	assert(n >= 0);
	*why = NULL;
	fd = open(path, O_RDONLY | O_CLOEXEC);
	buf_init(&b, FILE_MAX);
	while (fd >= 0 && (n = read(fd, chunk, sizeof(chunk))) > 0)
		buf_add(&b, chunk, (size_t)n);
	if (fd < 0 || n < 0)
		*why = strerror(errno);
	else if (b.overflow)
		*why = "it is larger than 4 MiB";
	else if (!utf8_valid(b.data, b.len) || memchr(b.data, 0, b.len))
		*why = "it is not UTF-8 text";
	if (!*why)
		return buf_take(&b);
	buf_free(&b);
	return NULL;
}

static int only_yaml(const struct dirent *d)
{
	const char *dot = strrchr(d->d_name, '.');

	return d->d_name[0] != '.' && dot && (strcmp(dot, ".yaml") == 0 || strcmp(dot, ".yml") == 0);
}

/* Manifests of packs_dir/NAME/VERSION in the order of their names; one that cannot be read is a problem: without it the pack is
 * another one. NULL: there is no such folder, or nothing in it. */
static json_t *pack_folder(const char *dir, const char *field, json_t *problems)
{
	struct dirent **names = NULL;
	json_t *out = json_array();
	int n = scandir(dir, &names, only_yaml, alphasort);

	for (int i = 0; i < n; i++) {
		const char *why;
		AUTO_FREE char *content = read_file(dir, names[i]->d_name, &why);
		json_t *one = json_object();

		if (!content)
			document_problem(problems, field, "correct the file in the plane's pack folder; then send SIGHUP to pcg-plane",
					 "%s/%s: %s", dir, names[i]->d_name, why);
		json_put_str(one, "name", names[i]->d_name);
		json_put_str(one, "content", content ? content : "");
		json_add(out, one);
		free(names[i]);
	}
	free(names);
	if (!json_array_size(out))
		json_decref(TAKE(out));
	return out;
}

static char *pack_dir(const char *packs_dir, const json_t *pack)
{
	const char *name = json_str(pack, "name"), *version = json_str(pack, "tag");
	char *out = NULL;
	int n;

	if (!packs_dir || !safe_name(name) || !safe_name(version))
		return NULL;
	n = asprintf(&out, "%s/%s/%s", packs_dir, name, version);
	assert(n >= 0);
	return out;
}

/* What a profile says and no cluster is given: the gateway tells it. */
static void ignore(json_t *config, const char *path, const char *member)
{
	json_t *list = json_object_get(config, "ignored");

	if (!list) {
		list = json_array();
		json_object_set_new(config, "ignored", list);
	}
	json_array_append_new(list, json_sprintf("%s%s%s", path, *path ? "." : "", member));
}

static void merge_arg(json_t *config, const char *path, json_t *into, const char *key, const json_t *value)
{
	char number[64];

	if (json_is_string(value)) {
		json_object_set(into, key, (json_t *)(uintptr_t)value);
		return;
	}
	if (json_is_boolean(value))
		snprintf(number, sizeof(number), "%s", json_is_true(value) ? "true" : "false");
	else if (json_is_integer(value))
		snprintf(number, sizeof(number), "%lld", (long long)json_integer_value(value));
	else if (json_is_real(value))
		snprintf(number, sizeof(number), "%g", json_real_value(value));
	else {
		ignore(config, path, key);
		return;
	}
	json_object_set_new(into, key, json_string(number));
}

/* {name: value}, as kubeadm had it, or [{name, value}], as it has had it since v1beta4. */
static void merge_args(json_t *config, const char *path, const json_t *args)
{
	json_t *into, *value;
	const char *key;
	size_t i;

	if (args && !json_is_null(args) && !json_is_object(args) && !json_is_array(args))
		ignore(config, "", path);
	if (!json_is_object(args) && !json_is_array(args))
		return;
	into = json_at(config, path);
	if (!into) {
		json_put(config, path, json_object());
		into = json_at(config, path);
	}
	json_object_foreach((json_t *)(uintptr_t)args, key, value)
		merge_arg(config, path, into, key, value);
	json_array_foreach(args, i, value)
		if (json_str(value, "name"))
			merge_arg(config, path, into, json_str(value, "name"), json_object_get(value, "value"));
}

static void append_list(json_t *config, const char *name, const json_t *list)
{
	json_t *into;

	if (list && !json_is_null(list) && !json_is_array(list))
		ignore(config, "", name);
	if (!json_is_array(list))
		return;
	into = json_at(config, name);
	if (!into) {
		json_put(config, name, json_array());
		into = json_at(config, name);
	}
	json_array_extend(into, (json_t *)list);
}

/* A file of the pack itself comes from its folder; one that only mounts what the host has is left out. */
static void add_file(json_t *files, const json_t *file, const char *field, const char *dir,
		     json_t *problems)
{
	const char *target = json_str(file, "targetPath"), *path = json_str(file, "path");
	AUTO_FREE char *content = NULL;
	const char *why = NULL;
	json_t *out;

	if (!target || *target != '/') {
		document_problem(problems, field, "give each file an absolute targetPath",
				 "kubeadmconfig.files: targetPath is missing or not absolute");
		return;
	}
	if (json_str(file, "content"))
		content = strdup(json_str(file, "content"));
	else if (path && dir && safe_name(path))
		content = read_file(dir, path, &why);
	else if (!path && json_at(file, "podMount"))
		return;
	if (!content) {
		document_problem(problems, field,
				 "give the file's content, or put it into the plane's pack folder",
				 "kubeadmconfig.files: %s has no content%s%s", target, why ? ": " : "", why ? why : "");
		return;
	}
	out = json_pack("{s:s,s:s,s:s,s:s}", "targetPath", target, "targetOwner",
			json_str_or(file, "targetOwner", "root:root"), "targetPermissions",
			json_str_or(file, "targetPermissions", "0600"), "content", content);
	json_add(files, out);
}

static const char *const args[] = { "apiServer.extraArgs", "controllerManager.extraArgs", "scheduler.extraArgs",
				    "kubeletExtraArgs" };
static const char *const lists[] = { "apiServer.certSANs", "apiServer.extraVolumes", "controllerManager.extraVolumes",
				     "scheduler.extraVolumes", "preKubeadmCommands", "postKubeadmCommands" };
static const char *const texts[] = { "encryptionAlgorithm", "imageRepository" };

/* Whether one of these is the member at path, or (parts) has one in it. */
static bool one_of(const char *const *known, size_t n, const char *path, bool parts)
{
	size_t len = strlen(path);

	for (size_t i = 0; i < n; i++)
		if (!strncmp(known[i], path, len) && known[i][len] == (parts ? '.' : '\0'))
			return true;
	return false;
}

static bool known_member(const char *path, bool parts)
{
	return one_of(args, ARRAY_LEN(args), path, parts) || one_of(lists, ARRAY_LEN(lists), path, parts) ||
	       one_of(texts, ARRAY_LEN(texts), path, parts) || (!parts && !strcmp(path, "files"));
}

static void ignore_unknown(json_t *config, const json_t *k, const char *path)
{
	const char *key;
	json_t *value;

	json_object_foreach((json_t *)(uintptr_t)k, key, value) {
		char at[256];

		snprintf(at, sizeof(at), "%s%s%s", path, *path ? "." : "", key);
		if (json_is_object(value) && known_member(at, true))
			ignore_unknown(config, value, at);
		else if (!json_is_null(value) && !known_member(at, false))
			ignore(config, path, key);
	}
}

void document_merge_kubeadm(json_t *config, const json_t *k, const char *field, const char *dir,
			    json_t *problems)
{
	json_t *file, *files;
	size_t i;

	ignore_unknown(config, k, "");
	for (i = 0; i < ARRAY_LEN(args); i++)
		merge_args(config, args[i], json_at(k, args[i]));
	for (i = 0; i < ARRAY_LEN(lists); i++)
		append_list(config, lists[i], json_at(k, lists[i]));
	for (i = 0; i < ARRAY_LEN(texts); i++)
		json_put_str(config, texts[i], json_str(k, texts[i]));
	if (!json_is_array(json_object_get(k, "files")))
		return;
	files = json_object_get(config, "files");
	if (!files) {
		files = json_array();
		json_object_set_new(config, "files", files);
	}
	json_array_foreach(json_object_get(k, "files"), i, file)
		add_file(files, file, field, dir, problems);
}

static json_t *parse_values(const json_t *pack, const char *field, json_t *problems)
{
	const char *values = json_str_or(pack, "values", "");
	AUTO_FREE char *text = document_substitute(values, json_object_get(pack, "vars"), field, problems);
	struct pcg_error err;
	json_t *doc = NULL;

	if (!*text)
		return json_object();
	if (strlen(text) > VALUES_MAX || yaml_load_one(text, strlen(text), field, &doc, &err)) {
		document_problem(problems, field, "correct the values of the pack in the profile",
				 "its values are not YAML: %s",
				 strlen(text) > VALUES_MAX ? "too long" : err.text);
		return json_object();
	}
	if (!json_is_object(doc)) {
		json_decref(doc);
		return json_object();
	}
	return doc;
}

/* k8s and os: what they say becomes settings of the cluster. */
static void add_base_layer(const char *dir, const json_t *pack, const char *layer, const char *field,
			   json_t *doc, json_t *problems)
{
	AUTO_JSON json_t *values = parse_values(pack, field, problems);
	const char *text;

	document_merge_kubeadm(json_object_get(doc, "kubeadmConfig"),
			       json_object_get(values, "kubeadmconfig"), field, dir, problems);
	if (strcmp(layer, "os") == 0) {
		json_put_str(doc, "image.name", json_str(values, "pack.imageTemplate"));
		return;
	}
	if ((text = json_str(values, "pack.podCIDR")))
		json_put_str(doc, "podCIDR", text);
	if ((text = json_str(values, "pack.serviceClusterIpRange")))
		json_put_str(doc, "serviceCIDR", text);
	if ((text = json_str(values, "pack.serviceDomain")))
		json_put_str(doc, "serviceDomain", text);
}

static void add_version(const json_t *pack, const char *field, json_t *doc, json_t *problems)
{
	const char *tag = json_str_or(pack, "tag", "");
	char version[32];

	if (json_str(doc, "kubernetesVersion"))
		document_problem(problems, field, "leave one of them out",
				 "a second layer 'k8s' says which Kubernetes version is wanted");
	else if (document_kubernetes_version(tag, version))
		json_put_str(doc, "kubernetesVersion", version);
	else
		document_problem(problems, field, "give the pack a tag like 1.36.3",
				 "'%.64s' is not a Kubernetes version", tag);
}

static json_t *own_manifests(const json_t *pack, const char *field, json_t *problems)
{
	json_t *out = json_array(), *m;
	size_t i;

	json_array_foreach(json_object_get(pack, "manifests"), i, m) {
		AUTO_FREE char *content =
			document_substitute(json_str_or(m, "content", ""), json_object_get(pack, "vars"), field,
					    problems);

		json_array_append_new(out, json_pack("{s:s,s:s}", "name", json_str_or(m, "name", "manifest"),
						     "content", content));
	}
	return out;
}

static void add_layer(const char *dir, const json_t *pack, const char *layer, const char *field,
		      json_t *doc, json_t *problems)
{
	const char *type = json_str_or(pack, "type", "spectro"), *name = json_str_or(pack, "name", "");
	const char *tag = json_str_or(pack, "tag", "");
	json_t *manifests = own_manifests(pack, field, problems), *extra;

	if (strcmp(type, "manifest") != 0) {
		extra = dir ? pack_folder(dir, field, problems) : NULL;
		if (!extra)
			document_problem(problems, field,
					 "put its manifests into the plane's pack folder (--packs) as NAME/VERSION/*.yaml, or use "
					 "a pack of type manifest; then send SIGHUP to pcg-plane",
					 "pack %.64s %.32s is not in the plane's pack folder", name, tag);
		json_array_extend(manifests, extra);
		json_decref(extra);
	}
	json_array_append_new(json_object_get(doc, "layers"),
			      json_pack("{s:s,s:s,s:s,s:o}", "layer", layer, "name", name, "version", tag,
					"manifests", manifests));
}

static int rank(const char *layer)
{
	static const char *const order[] = { "cni", "cloud-provider", "csi", "addon" };

	for (int i = 0; i < (int)ARRAY_LEN(order); i++)
		if (strcmp(layer, order[i]) == 0)
			return i;
	return (int)ARRAY_LEN(order);
}

static void sort_layers(json_t *doc)
{
	json_t *sorted = json_array(), *layer;
	size_t i;

	for (int want = 0; want < 4; want++)
		json_array_foreach(json_object_get(doc, "layers"), i, layer)
			if (rank(json_str_or(layer, "layer", "")) == want)
				json_array_append(sorted, layer);
	json_object_set_new(doc, "layers", sorted);
}

void document_add_packs(const char *packs_dir, const json_t *packs, json_t *doc, json_t *problems,
			const json_t **os)
{
	json_t *pack;
	size_t i;

	*os = NULL;
	json_array_foreach((json_t *)packs, i, pack) {
		const char *layer = document_layer(pack);
		AUTO_FREE char *dir = pack_dir(packs_dir, pack);
		char field[160];

		snprintf(field, sizeof(field), "profiles.packs.%.100s", json_str_or(pack, "name", ""));
		if (strcmp(layer, "k8s") == 0)
			add_version(pack, field, doc, problems);
		if (strcmp(layer, "os") == 0)
			*os = pack;
		if (strcmp(layer, "k8s") == 0 || strcmp(layer, "os") == 0)
			add_base_layer(dir, pack, layer, field, doc, problems);
		else
			add_layer(dir, pack, layer, field, doc, problems);
	}
	sort_layers(doc);
	if (!json_str(doc, "kubernetesVersion"))
		document_problem(problems, "kubernetesVersion",
				 "add a profile whose layer 'k8s' has a pack with the version as its tag",
				 "no profile of the cluster has a layer 'k8s' that names a version");
}
