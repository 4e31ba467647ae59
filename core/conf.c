/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"
#include "core/conf.h"
#include "core/attr.h"
#include "core/conf_text.h"
#include "core/secret.h"

#include <assert.h>
#include <errno.h>
#include <libconfig.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define CONF_MAGIC 0x636f6e66u
#define NAME_MAX_BYTES 256
#define LIST_MAX 1024

#ifdef PCG_SANITIZED
/* libconfig loses the piece of text that it was reading when it refuses a file. */
const char *__lsan_default_suppressions(void);
__attribute__((visibility("default"))) const char *__lsan_default_suppressions(void)
{
	return "leak:libconfig\n";
}
#endif

struct value {
	bool set;     /* stands in the file or has a default */
	bool in_file;
	int64_t num;  /* CONF_INT, CONF_BOOL */
	char *str;
	char **list;
	size_t n_list;
	char *file;   /* with line: where it stands; NULL: nowhere */
	unsigned line;
};

struct conf {
	uint32_t magic;
	char *path;
	atomic_uint refs;
	const struct conf_setting *table;
	size_t n;
	struct value *values;
};

struct load {
	struct conf *conf;
	const struct conf_text *text;
	struct buf *report;
	bool bad;
};

static const char *const type_names[] = {
	[CONF_STR] = "text", [CONF_INT] = "number", [CONF_BOOL] = "boolean", [CONF_STR_LIST] = "list of texts",
	[CONF_FILE] = "file", [CONF_DIR] = "folder", [CONF_URL] = "URL",
};

static void add_allowed(struct buf *out, const struct conf_setting *s)
{
	switch (s->type) {
	case CONF_STR:
		buf_adds(out, "a text in quotes");
		break;
	case CONF_INT:
		buf_addf(out, "a whole number from %lld to %lld", (long long)s->min, (long long)s->max);
		break;
	case CONF_BOOL:
		buf_adds(out, "true or false");
		break;
	case CONF_STR_LIST:
		buf_adds(out, "a list of texts like [\"a\", \"b\"]");
		break;
	case CONF_FILE:
		buf_adds(out, "the absolute path of a file that this user may read, in quotes");
		break;
	case CONF_DIR:
		buf_adds(out, "the absolute path of a folder, in quotes");
		break;
	case CONF_URL:
		buf_adds(out, "an address like \"https://plane.example.org:8443\"");
		break;
	}
}

/* Values are never told: a setting may be a secret. */
static void problem(struct load *l, const config_setting_t *at, const struct conf_setting *s,
		    const char *why)
{
	unsigned line;
	const char *file = conf_text_where(l->text, config_setting_source_line(at), &line);

	buf_addf(l->report, "%s:%u: setting %s: %s; allowed: ", file, line, s->name, why);
	add_allowed(l->report, s);
	buf_adds(l->report, "\n");
	l->bad = true;
}

static size_t distance(const char *a, const char *b)
{
	size_t row[NAME_MAX_BYTES + 1], la = strlen(a), lb = strlen(b);

	if (la > NAME_MAX_BYTES || lb > NAME_MAX_BYTES)
		return NAME_MAX_BYTES;
	for (size_t j = 0; j <= lb; j++)
		row[j] = j;
	for (size_t i = 1; i <= la; i++) {
		size_t diagonal = row[0];

		row[0] = i;
		for (size_t j = 1; j <= lb; j++) {
			size_t best = diagonal + (a[i - 1] != b[j - 1]);

			diagonal = row[j];
			if (row[j] + 1 < best)
				best = row[j] + 1;
			if (row[j - 1] + 1 < best)
				best = row[j - 1] + 1;
			row[j] = best;
		}
	}
	return row[lb];
}

static const char *nearest(const struct conf *c, const char *name)
{
	size_t best = strlen(name) / 3 + 1;
	const char *found = NULL;

	for (size_t i = 0; i < c->n; i++) {
		size_t d = distance(name, c->table[i].name);

		if (d <= best && (!found || d < best)) {
			best = d;
			found = c->table[i].name;
		}
	}
	return found;
}

/* The settings of the group that name stands in, or all when that group has none. */
static void add_names(struct buf *out, const struct conf *c, const char *name)
{
	const char *dot = strrchr(name, '.');
	size_t prefix = dot ? (size_t)(dot + 1 - name) : 0;
	bool any = false;

	for (int all = 0; all < 2 && !any; all++) {
		for (size_t i = 0; i < c->n; i++) {
			if (!all && strncmp(c->table[i].name, name, prefix) != 0)
				continue;
			buf_addf(out, "%s%s", any ? ", " : "", c->table[i].name);
			any = true;
		}
	}
}

static void unknown(struct load *l, const config_setting_t *at, const char *name)
{
	unsigned line;
	const char *file = conf_text_where(l->text, config_setting_source_line(at), &line);
	const char *near = nearest(l->conf, name);

	buf_addf(l->report, "%s:%u: setting %s: unknown", file, line, name);
	if (near)
		buf_addf(l->report, ", is %s meant?", near);
	buf_adds(l->report, "; allowed: ");
	add_names(l->report, l->conf, name);
	buf_adds(l->report, "\n");
	l->bad = true;
}

static void not_group(struct load *l, const config_setting_t *at, const char *name)
{
	AUTO_FREE char *prefix = NULL;
	unsigned line;
	const char *file = conf_text_where(l->text, config_setting_source_line(at), &line);

	if (asprintf(&prefix, "%s.", name) < 0)
		abort();
	buf_addf(l->report, "%s:%u: setting %s: is a group; allowed: %s = { ... }; with ", file, line, name,
		 name);
	add_names(l->report, l->conf, prefix);
	buf_adds(l->report, "\n");
	l->bad = true;
}

/* NULL, or what is wrong. The text itself is not told: it may hold a password. */
static const char *check_url(const char *url)
{
	const char *host, *end, *at, *colon;
	long port = 0;

	for (const char *p = url; *p; p++)
		if (*p <= ' ' || *p > '~')
			return "the address has a space or another character that addresses cannot have";
	if (strncmp(url, "https://", 8) != 0 && strncmp(url, "http://", 7) != 0)
		return "the address does not begin with https:// or http://";
	host = strstr(url, "://") + 3;
	end = host + strcspn(host, "/?#");
	at = memrchr(host, '@', (size_t)(end - host));
	if (at)
		host = at + 1;
	if (*host == '[') {
		colon = memchr(host, ']', (size_t)(end - host));
		if (!colon || colon == host + 1)
			return "the address has no ] after its IPv6 host";
		if (strspn(host + 1, "0123456789abcdefABCDEF:.") != (size_t)(colon - host - 1))
			return "the host in brackets is no IPv6 address";
		colon++;
	} else {
		colon = host + strcspn(host, ":/?#");
		if (colon == host)
			return "the address has no host";
		if (strspn(host, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_") !=
		    (size_t)(colon - host))
			return "the host has a character that host names cannot have";
	}
	if (colon == end)
		return NULL;
	if (*colon != ':' || colon + 1 == end)
		return "the address has no number after the host's colon";
	for (const char *p = colon + 1; p < end; p++) {
		if (*p < '0' || *p > '9' || port > 65535)
			return "the port is no number from 1 to 65535";
		port = port * 10 + (*p - '0');
	}
	return port >= 1 && port <= 65535 ? NULL : "the port is no number from 1 to 65535";
}

static const char *check_path(const char *path, enum conf_type type)
{
	struct stat st;

	if (path[0] != '/')
		return "the path is not absolute";
	if (stat(path, &st))
		return errno == ENOENT ? "there is no such file or folder" : strerror(errno);
	if (type == CONF_DIR)
		return S_ISDIR(st.st_mode) ? NULL : "it is not a folder";
	if (!S_ISREG(st.st_mode))
		return "it is not a regular file";
	return access(path, R_OK) == 0 ? NULL : strerror(errno);
}

static void set_list(struct value *v, size_t n)
{
	v->list = calloc(n + 1, sizeof(*v->list));
	assert(v->list);
	v->n_list = n;
}

static void take_list(struct load *l, const config_setting_t *at, const struct conf_setting *s,
		      struct value *v)
{
	int n = config_setting_length(at);

	if (!config_setting_is_array(at) && !config_setting_is_list(at)) {
		problem(l, at, s, "is not a list");
		return;
	}
	if (n > LIST_MAX) {
		problem(l, at, s, "has more than 1024 entries");
		return;
	}
	set_list(v, (size_t)n);
	for (int i = 0; i < n; i++) {
		const char *text = config_setting_get_string_elem(at, i);

		v->list[i] = strdup(text ? text : "");
		assert(v->list[i]);
		if (!text) {
			problem(l, at, s, "has an entry that is not a text");
			return;
		}
	}
}

static void take_text(struct load *l, const config_setting_t *at, const struct conf_setting *s,
		      struct value *v)
{
	const char *text = config_setting_get_string(at), *why = NULL;

	if (config_setting_type(at) != CONFIG_TYPE_STRING) {
		problem(l, at, s, "is not a text in quotes");
		return;
	}
	if (s->type == CONF_URL)
		why = check_url(text);
	else if (s->type == CONF_FILE || s->type == CONF_DIR)
		why = check_path(text, s->type);
	if (why) {
		problem(l, at, s, why);
		return;
	}
	free(v->str);
	v->str = strdup(text);
	assert(v->str);
}

static void take(struct load *l, const config_setting_t *at, size_t index)
{
	const struct conf_setting *s = &l->conf->table[index];
	struct value *v = &l->conf->values[index];
	int type = config_setting_type(at);

	v->in_file = v->set = true;
	free(v->file);
	v->file = strdup(conf_text_where(l->text, config_setting_source_line(at), &v->line));
	assert(v->file);
	switch (s->type) {
	case CONF_INT:
		if (type != CONFIG_TYPE_INT && type != CONFIG_TYPE_INT64) {
			problem(l, at, s, "is not a whole number");
			return;
		}
		v->num = config_setting_get_int64(at);
		if (v->num < s->min || v->num > s->max)
			problem(l, at, s, "is out of range");
		return;
	case CONF_BOOL:
		if (type != CONFIG_TYPE_BOOL)
			problem(l, at, s, "is neither true nor false");
		else
			v->num = config_setting_get_bool(at);
		return;
	case CONF_STR_LIST:
		take_list(l, at, s, v);
		return;
	default:
		take_text(l, at, s, v);
	}
}

enum match { MATCH_NONE, MATCH_GROUP, MATCH_SETTING };

static enum match lookup(const struct conf *c, const char *name, size_t *index)
{
	size_t len = strlen(name);
	enum match m = MATCH_NONE;

	for (size_t i = 0; i < c->n; i++) {
		if (strcmp(c->table[i].name, name) == 0) {
			*index = i;
			return MATCH_SETTING;
		}
		if (strncmp(c->table[i].name, name, len) == 0 && c->table[i].name[len] == '.')
			m = MATCH_GROUP;
	}
	return m;
}

/* Goes no deeper than the table's names do. */
static void walk(struct load *l, const config_setting_t *group, const char *prefix)
{
	int n = config_setting_length(group);

	for (int i = 0; i < n; i++) {
		const config_setting_t *at = config_setting_get_elem(group, (unsigned)i);
		AUTO_FREE char *name = NULL;
		size_t index = 0;

		if (asprintf(&name, "%s%s%s", prefix, *prefix ? "." : "", config_setting_name(at)) < 0)
			abort();
		switch (lookup(l->conf, name, &index)) {
		case MATCH_SETTING:
			take(l, at, index);
			break;
		case MATCH_GROUP:
			if (config_setting_is_group(at))
				walk(l, at, name);
			else
				not_group(l, at, name);
			break;
		default:
			unknown(l, at, name);
		}
	}
}

/* "a,b": the table's way to write a list. */
static void default_list(struct value *v, const char *def)
{
	AUTO_FREE char *copy = strdup(def);
	char *save = NULL;
	size_t n = 0;

	assert(copy);
	set_list(v, strlen(def) + 1);
	for (char *p = strtok_r(copy, ",", &save); p; p = strtok_r(NULL, ",", &save)) {
		v->list[n] = strdup(p);
		assert(v->list[n]);
		n++;
	}
	v->n_list = n;
}

static void set_default(const struct conf_setting *s, struct value *v)
{
	char *end = NULL;

	v->set = true;
	switch (s->type) {
	case CONF_INT:
		v->num = strtoll(s->def, &end, 10);
		assert(*s->def && !*end && v->num >= s->min && v->num <= s->max);
		return;
	case CONF_BOOL:
		v->num = strcmp(s->def, "true") == 0;
		assert(v->num || strcmp(s->def, "false") == 0);
		return;
	case CONF_STR_LIST:
		default_list(v, s->def);
		return;
	default:
		v->str = strdup(s->def);
		assert(v->str);
	}
}

static void fill_rest(struct load *l)
{
	for (size_t i = 0; i < l->conf->n; i++) {
		const struct conf_setting *s = &l->conf->table[i];
		struct value *v = &l->conf->values[i];

		if (v->in_file)
			continue;
		if (s->def) {
			set_default(s, v);
		} else if (s->required) {
			buf_addf(l->report, "%s: setting %s: missing; allowed: ", l->text->files[0].path, s->name);
			add_allowed(l->report, s);
			buf_adds(l->report, "\n");
			l->bad = true;
		}
	}
}

static struct conf *conf_new(const char *path, const struct conf_setting *table, size_t n)
{
	struct conf *c = calloc(1, sizeof(*c));

	assert(c);
	c->magic = CONF_MAGIC;
	c->path = strdup(path);
	assert(c->path);
	atomic_init(&c->refs, 1);
	c->table = table;
	c->n = n;
	c->values = calloc(n + 1, sizeof(*c->values));
	assert(c->values);
	return c;
}

static void parse(struct load *l, conf_check check)
{
	config_t cfg;
	size_t before;

	config_init(&cfg);
	if (config_read_string(&cfg, l->text->text.data) == CONFIG_TRUE) {
		walk(l, config_root_setting(&cfg), "");
		fill_rest(l);
		before = l->report->len;
		if (check)
			check(l->conf, l->report);
		l->bad = l->bad || l->report->len > before;
	} else {
		unsigned line;
		const char *file = conf_text_where(l->text, (unsigned)config_error_line(&cfg), &line);

		buf_addf(l->report, "%s:%u: %s; allowed: NAME = VALUE; or NAME = { ... };\n", file, line,
			 config_error_text(&cfg));
		l->bad = true;
	}
	config_destroy(&cfg);
}

int conf_load(const char *path, const struct conf_setting *table, size_t n, struct conf **out,
	      struct buf *report)
{
	return conf_load_checked(path, table, n, NULL, out, report);
}

int conf_load_checked(const char *path, const struct conf_setting *table, size_t n, conf_check check,
		      struct conf **out, struct buf *report)
{
	struct conf_text text;
	struct load l = { .conf = conf_new(path, table, n), .text = &text, .report = report };

	*out = NULL;
	if (conf_text_read(path, &text, report))
		l.bad = true;
	else
		parse(&l, check);
	conf_text_free(&text);
	if (l.bad) {
		conf_unref(l.conf);
		return -1;
	}
	*out = l.conf;
	return 0;
}

struct conf *conf_ref(struct conf *c)
{
	assert(c->magic == CONF_MAGIC);
	atomic_fetch_add(&c->refs, 1);
	return c;
}

void conf_unref(struct conf *c)
{
	if (!c)
		return;
	assert(c->magic == CONF_MAGIC);
	if (atomic_fetch_sub(&c->refs, 1) != 1)
		return;
	for (size_t i = 0; i < c->n; i++) {
		struct value *v = &c->values[i];

		if (v->str)
			secret_wipe(v->str, strlen(v->str));
		free(v->str);
		for (size_t k = 0; v->list && k < v->n_list; k++)
			free(v->list[k]);
		free(v->list);
		free(v->file);
	}
	free(c->path);
	free(c->values);
	c->magic = 0;
	free(c);
}

/* A name or a type that the table does not have is a fault of the program. */
static const struct value *get(const struct conf *c, const char *name, bool list, bool num)
{
	size_t i = 0;

	assert(c->magic == CONF_MAGIC);
	if (lookup(c, name, &i) != MATCH_SETTING)
		assert(!"setting of this name in the table");
	assert(list == (c->table[i].type == CONF_STR_LIST));
	assert(num == (c->table[i].type == CONF_INT || c->table[i].type == CONF_BOOL));
	return &c->values[i];
}

void conf_where(const struct conf *c, const char *name, struct buf *report)
{
	size_t i = 0;

	assert(c->magic == CONF_MAGIC);
	if (lookup(c, name, &i) != MATCH_SETTING)
		assert(!"setting of this name in the table");
	if (c->values[i].file)
		buf_addf(report, "%s:%u: setting %s: ", c->values[i].file, c->values[i].line, name);
	else
		buf_addf(report, "%s: setting %s: ", c->path, name);
}

const char *conf_str(const struct conf *c, const char *name)
{
	return get(c, name, false, false)->str;
}

int64_t conf_int(const struct conf *c, const char *name)
{
	return get(c, name, false, true)->num;
}

bool conf_bool(const struct conf *c, const char *name)
{
	return get(c, name, false, true)->num != 0;
}

size_t conf_list_len(const struct conf *c, const char *name)
{
	return get(c, name, true, false)->n_list;
}

const char *conf_list_at(const struct conf *c, const char *name, size_t i)
{
	const struct value *v = get(c, name, true, false);

	return i < v->n_list ? v->list[i] : NULL;
}

static bool same_text(const char *a, const char *b)
{
	return a && b ? strcmp(a, b) == 0 : a == b;
}

static bool same(const struct value *a, const struct value *b)
{
	if (a->set != b->set || a->num != b->num || !same_text(a->str, b->str) || a->n_list != b->n_list)
		return false;
	for (size_t i = 0; i < a->n_list; i++)
		if (strcmp(a->list[i], b->list[i]) != 0)
			return false;
	return true;
}

void conf_diff_fixed(const struct conf *a, const struct conf *b, struct buf *report)
{
	assert(a->table == b->table && a->n == b->n);
	for (size_t i = 0; i < a->n; i++)
		if (!a->table[i].reload && !same(&a->values[i], &b->values[i]))
			buf_addf(report, "%s\n", a->table[i].name);
}

void conf_document(const struct conf_setting *table, size_t n, struct buf *out)
{
	for (size_t i = 0; i < n; i++) {
		const struct conf_setting *s = &table[i];

		buf_addf(out, "%s (%s", s->name, type_names[s->type]);
		if (s->type == CONF_INT)
			buf_addf(out, " from %lld to %lld", (long long)s->min, (long long)s->max);
		if (s->required && !s->def)
			buf_adds(out, ", required");
		else if (s->def)
			buf_addf(out, ", default %s", *s->def ? s->def : "empty");
		buf_addf(out, "%s)\n    %s\n", s->reload ? ", changes by reload" : "", s->doc ? s->doc : "");
	}
}
