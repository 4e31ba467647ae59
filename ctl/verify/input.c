/* SPDX-License-Identifier: Apache-2.0 */
/* DOCS.json: read, completed, checked as far as a plugin's documents can be from outside. */
#include "config.h"

#include "ctl/verify/verify.h"

#include "core/buf.h"
#include "core/id.h"
#include "core/secret.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#define FILE_MAX (1u << 20)
#define SCHEMA "see docs/plugin-verify.md, and verify.json of the examples"

int input_file(const char *path, struct buf *out, struct pcg_error *err)
{
	AUTO_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC);
	char piece[16384];
	ssize_t n;

	buf_init_secret(out, FILE_MAX);
	if (fd < 0)
		return pcg_fail_errno(err, errno, "opening %s", path);
	while ((n = read(fd, piece, sizeof(piece))) > 0)
		buf_add(out, piece, (size_t)n);
	secret_wipe(piece, sizeof(piece));
	if (n < 0)
		return pcg_fail_errno(err, errno, "reading %s", path);
	return out->overflow ? pcg_fail(err, PCG_CLASS_PERMANENT, "", "%s is larger than %u bytes", path, FILE_MAX) : 0;
}

json_t *input_patched(const json_t *base, const json_t *patch)
{
	json_t *out = json_deep_copy(base), *value;
	const char *key;

	if (!json_is_object(patch))
		return out;
	if (!json_is_object(out)) {
		json_decref(out);
		out = json_object();
	}
	json_object_foreach((json_t *)patch, key, value) {
		json_t *old = json_object_get(out, key);

		if (json_is_null(value))
			json_object_del(out, key);
		else if (json_is_object(value) && json_is_object(old))
			json_object_set_new(out, key, input_patched(old, value));
		else
			json_object_set_new(out, key, json_deep_copy(value));
	}
	return out;
}

static json_t *replaced(const char *text, const char *what, const char *value)
{
	const char *at = strstr(text, what);
	struct buf out;
	json_t *made;

	if (!at)
		return NULL;
	buf_init(&out, FILE_MAX);
	for (; at; at = strstr(text, what)) {
		buf_add(&out, text, (size_t)(at - text));
		buf_adds(&out, value);
		text = at + strlen(what);
	}
	buf_adds(&out, text);
	made = json_string(out.data);
	buf_free(&out);
	return made;
}

static void replace_all(json_t *doc, const char *what, const char *value)
{
	const char *key;
	json_t *member, *made;
	size_t i;

	json_object_foreach(doc, key, member) {
		made = json_is_string(member) ? replaced(json_string_value(member), what, value) : NULL;
		if (made)
			json_object_set_new(doc, key, made);
		else
			replace_all(member, what, value);
	}
	json_array_foreach(doc, i, member) {
		made = json_is_string(member) ? replaced(json_string_value(member), what, value) : NULL;
		if (made)
			json_array_set_new(doc, i, made);
		else
			replace_all(member, what, value);
	}
}

void input_replace(json_t *doc, const char *name, const char *value)
{
	char what[64];

	snprintf(what, sizeof(what), "${%s}", name);
	replace_all(doc, what, value);
}

bool input_secret_member(const struct verify *v, const char *name)
{
	static const char *const parts[] = { "password", "token", "secret", "apikey", "privatekey" };
	const json_t *named = json_at(v->docs, "account.secrets");
	size_t i;
	json_t *e;

	if (json_object_get(json_at(v->docs, "account.secretFiles"), name))
		return true;
	json_array_foreach(named, i, e)
		if (json_is_string(e) && strcmp(json_string_value(e), name) == 0)
			return true;
	for (i = 0; !named && i < ARRAY_LEN(parts); i++)
		if (strcasestr(name, parts[i]))
			return true;
	return false;
}

/* Relative to DOCS.json. */
static char *path_of(const struct verify *v, const char *name)
{
	char *path;

	if (asprintf(&path, "%s%s%s", *name == '/' ? "" : v->docs_dir, *name == '/' ? "" : "/", name) < 0)
		abort();
	return path;
}

static int read_spec_files(struct verify *v, const char *list, struct pcg_error *err)
{
	json_t *files = json_at(v->docs, list), *spec = json_at(v->docs, "account.spec"), *value;
	const char *name;

	json_object_foreach(files, name, value) {
		AUTO_FREE char *path = NULL;
		struct buf text;
		int r;

		if (!json_is_string(value))
			return pcg_fail(err, PCG_CLASS_PERMANENT, SCHEMA, "%s.%s is no text", list, name);
		path = path_of(v, json_string_value(value));
		r = input_file(path, &text, err);
		while (!r && text.len && (text.data[text.len - 1] == '\n' || text.data[text.len - 1] == '\r'))
			text.data[--text.len] = 0;
		if (!r)
			json_object_set_new(spec, name, json_string(text.data));
		buf_free(&text);
		if (r)
			return pcg_fail_prefix(err, "%s.%s", list, name);
	}
	return 0;
}

static const char *type_name(json_type type)
{
	return type == JSON_OBJECT ? "an object" : type == JSON_ARRAY ? "an array" : type == JSON_STRING ? "a text" :
	       type == JSON_INTEGER ? "a number" : "something else";
}

static int check_members(const struct verify *v, struct pcg_error *err)
{
	static const struct {
		const char *path;
		json_type type;
		bool needed;
	} members[] = {
		{ "account", JSON_OBJECT, true }, { "account.spec", JSON_OBJECT, true },
		{ "account.settings", JSON_OBJECT, false }, { "account.required", JSON_ARRAY, false },
		{ "account.secrets", JSON_ARRAY, false }, { "account.secretFiles", JSON_OBJECT, false },
		{ "account.files", JSON_OBJECT, false }, { "cluster", JSON_OBJECT, true },
		{ "cluster.name", JSON_STRING, true }, { "cluster.spec", JSON_OBJECT, true },
		{ "cluster.spec.pools", JSON_ARRAY, true }, { "cluster.spec.pools.0.name", JSON_STRING, true },
		{ "userData", JSON_STRING, false }, { "wrong", JSON_OBJECT, false },
		{ "wrong.auth", JSON_OBJECT, false }, { "wrong.unreachable", JSON_OBJECT, false },
		{ "wrong.silent", JSON_OBJECT, false }, { "missing", JSON_ARRAY, false },
		{ "pickLists", JSON_ARRAY, false }, { "requests", JSON_OBJECT, false },
		{ "commands", JSON_OBJECT, false }, { "limits", JSON_OBJECT, false },
	};

	if (!json_is_object(v->docs))
		return pcg_fail(err, PCG_CLASS_PERMANENT, SCHEMA, "it is %s, expected an object", type_name(json_typeof(v->docs)));
	for (size_t i = 0; i < ARRAY_LEN(members); i++) {
		const json_t *m = json_at(v->docs, members[i].path);

		if (!m && !members[i].needed)
			continue;
		if (!m)
			return pcg_fail(err, PCG_CLASS_PERMANENT, SCHEMA, "%s is missing", members[i].path);
		if (json_typeof(m) != members[i].type)
			return pcg_fail(err, PCG_CLASS_PERMANENT, SCHEMA, "%s is %s, expected %s", members[i].path,
					type_name(json_typeof(m)), type_name(members[i].type));
	}
	return 0;
}

/* A name that is written wrong would be a check that is not made. */
static int check_names(const json_t *object, const char *where, const char *const *known, struct pcg_error *err)
{
	const char *key;
	json_t *value;

	json_object_foreach((json_t *)object, key, value) {
		size_t i = 0;

		while (known[i] && strcmp(known[i], key) != 0)
			i++;
		if (!known[i])
			return pcg_fail(err, PCG_CLASS_PERMANENT, SCHEMA, "%s%s%s is no member of DOCS.json", where,
					*where ? "." : "", key);
	}
	return 0;
}

static int check_all_names(const json_t *docs, struct pcg_error *err)
{
	static const struct {
		const char *path;
		const char *known[12];
	} objects[] = {
		{ "", { "account", "wrong", "cluster", "userData", "missing", "pickLists", "requests", "commands", "limits" } },
		{ "account", { "spec", "settings", "required", "secrets", "secretFiles", "files" } },
		{ "wrong", { "auth", "unreachable", "silent" } },
		{ "requests", { "read", "session", "change" } },
		{ "commands", { "count", "foreign", "userData", "exhaust", "restore" } },
		{ "limits", { "opMs", "doneMs", "kills", "killFirst", "killStep", "machines" } },
	};

	for (size_t i = 0; i < ARRAY_LEN(objects); i++)
		if (check_names(*objects[i].path ? json_at(docs, objects[i].path) : docs, objects[i].path,
				objects[i].known, err))
			return -1;
	return 0;
}

static int check_list(const json_t *list, const char *where, json_type type, struct pcg_error *err)
{
	size_t i;
	json_t *e;

	if (list && !json_is_array(list))
		return pcg_fail(err, PCG_CLASS_PERMANENT, SCHEMA, "%s is %s, expected an array", where, type_name(json_typeof(list)));
	json_array_foreach((json_t *)list, i, e)
		if (json_typeof(e) != type || (type == JSON_OBJECT && !json_object_size(e)) ||
		    (type == JSON_STRING && !json_string_length(e)))
			return pcg_fail(err, PCG_CLASS_PERMANENT, SCHEMA, "%s[%zu] is %s, expected %s", where, i,
					json_typeof(e) == type ? "empty" : type_name(json_typeof(e)), type_name(type));
	return 0;
}

static int check_commands(const json_t *commands, struct pcg_error *err)
{
	const char *name;
	char where[64];
	json_t *words;

	json_object_foreach((json_t *)commands, name, words) {
		snprintf(where, sizeof(where), "commands.%.40s", name);
		if (check_list(words, where, JSON_STRING, err))
			return -1;
		if (!json_array_size(words))
			return pcg_fail(err, PCG_CLASS_PERMANENT, SCHEMA, "%s is empty", where);
	}
	return 0;
}

/* The lifecycle gives no others: docs/spec.md. */
static int check_cluster(const json_t *docs, struct pcg_error *err)
{
	const char *name = json_str_or(docs, "cluster.name", "");
	json_t *pool;
	size_t i;

	if (strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789-") != strlen(name) || !*name || *name == '-' ||
	    name[strlen(name) - 1] == '-' || strlen(name) > 32)
		return pcg_fail(err, PCG_CLASS_PERMANENT, SCHEMA, "cluster.name is \"%s\", expected lower-case letters, digits and '-', at "
				"most 32", name);
	json_array_foreach(json_at(docs, "cluster.spec.pools"), i, pool)
		if (!*json_str_or(pool, "name", ""))
			return pcg_fail(err, PCG_CLASS_PERMANENT, SCHEMA, "cluster.spec.pools.%zu.name is missing", i);
	return 0;
}

/* What a check would take for the plugin's fault, or for nothing. */
static int check_contents(const json_t *docs, struct pcg_error *err)
{
	static const struct {
		const char *path;
		json_type type;
	} lists[] = {
		{ "account.required", JSON_STRING }, { "account.secrets", JSON_STRING }, { "missing", JSON_OBJECT },
		{ "pickLists", JSON_OBJECT }, { "requests.read", JSON_STRING }, { "requests.session", JSON_STRING },
		{ "requests.change", JSON_STRING },
	};

	for (size_t i = 0; i < ARRAY_LEN(lists); i++)
		if (check_list(json_at(docs, lists[i].path), lists[i].path, lists[i].type, err))
			return -1;
	return check_commands(json_object_get(docs, "commands"), err) ? -1 : check_cluster(docs, err);
}

static int read_limits(struct verify *v, struct pcg_error *err)
{
	const struct {
		const char *name;
		uint32_t def, most;
		uint32_t *to;
	} table[] = {
		{ "opMs", 30000, 600000, &v->limits.op_ms }, { "doneMs", 120000, 3600000, &v->limits.done_ms },
		{ "kills", 64, 1000, &v->limits.kills }, { "killFirst", 1, 1000, &v->limits.kill_first },
		{ "killStep", 1, 1000, &v->limits.kill_step }, { "machines", 4, LIFE_MACHINES, &v->limits.machines },
	};

	for (size_t i = 0; i < ARRAY_LEN(table); i++) {
		const json_t *given = json_object_get(json_object_get(v->docs, "limits"), table[i].name);
		json_int_t n = given ? json_integer_value(given) : table[i].def;

		if ((given && !json_is_integer(given)) || n < 1 || n > table[i].most)
			return pcg_fail(err, PCG_CLASS_PERMANENT, SCHEMA, "limits.%s is no number from 1 to %u", table[i].name,
					table[i].most);
		*table[i].to = (uint32_t)n;
	}
	return 0;
}

/* DIR/libpcg-NAME.so: the folder is what pcgd would have as plugins_dir. */
static int read_plugin_path(struct verify *v, const char *file, struct pcg_error *err)
{
	char real[PATH_MAX], *base;
	size_t len;

	if (!realpath(file, real))
		return pcg_fail_errno(err, errno, "opening the plugin %s", file);
	base = strrchr(real, '/');
	*base++ = 0;
	v->plugin_dir = strdup(*real ? real : "/");
	len = strlen(base);
	if (strncmp(base, "libpcg-", 7) != 0 || len < 11 || len > 7 + sizeof(v->provider) - 1 ||
	    strcmp(base + len - 3, ".so") != 0)
		return pcg_fail(err, PCG_CLASS_PERMANENT, "name it as pcgd would find it in its plugins folder",
				"the plugin's file is %s, expected libpcg-NAME.so", base);
	snprintf(v->provider, sizeof(v->provider), "%.*s", (int)(len - 10), base + 7);
	return 0;
}

int input_read(struct verify *v, const char *file, const char *docs, struct pcg_error *err)
{
	char real[PATH_MAX], suffix[25];
	struct buf text;
	int r = read_plugin_path(v, file, err);

	if (r)
		return r;
	if (!realpath(docs, real))
		return pcg_fail_errno(err, errno, "opening %s", docs);
	*strrchr(real, '/') = 0;
	v->docs_dir = strdup(real);
	r = input_file(docs, &text, err);
	if (!r)
		r = json_parse(text.data, text.len, docs, &v->docs, err);
	buf_free(&text);
	if (r)
		return r; /* both have named the file */
	r = check_members(v, err) || check_all_names(v->docs, err) || check_contents(v->docs, err) || read_limits(v, err) ||
	    read_spec_files(v, "account.secretFiles", err) || read_spec_files(v, "account.files", err);
	if (r)
		return err->class == PCG_CLASS_NOT_FOUND ? pcg_error_code(err) : pcg_fail_prefix(err, "%s", docs);
	id_hex24(suffix);
	snprintf(v->canary, sizeof(v->canary), "PCGVERIFYKEY%s", suffix);
	input_replace(v->docs, "CANARY", v->canary);
	return 0;
}

void input_free(struct verify *v)
{
	json_wipe(v->docs);
	free(v->plugin_dir);
	free(v->docs_dir);
}
