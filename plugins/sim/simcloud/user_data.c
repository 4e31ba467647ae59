/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "plugins/sim/simcloud/user_data.h"

#include "core/base64.h"
#include "core/buf.h"
#include "core/yaml.h"
#include "plugins/sim/simcloud/jinja.h"

#include <string.h>
#include <zlib.h>

#define USER_DATA_MAX (4u << 20)

/* What cloud-init gives a template: v1.*, ds.meta_data.*, and the names of both without a prefix. */
static json_t *user_data_vars(const json_t *metadata)
{
	json_t *vars = json_object(), *v1 = json_object(), *meta = json_object(), *v;
	const char *host = json_string_value(json_object_get(metadata, "local-hostname"));
	const char *id = json_string_value(json_object_get(metadata, "instance-id"));
	const char *key;

	json_object_foreach((json_t *)metadata, key, v) {
		AUTO_FREE char *name = strdup(key);

		for (char *p = name; *p; p++)
			if (*p == '-')
				*p = '_';
		json_object_set(meta, name, v);
	}
	json_object_set_new(v1, "local_hostname", json_string(host ? host : ""));
	json_object_set_new(v1, "instance_id", json_string(id ? id : ""));
	json_object_set_new(v1, "cloud_name", json_string("sim"));
	json_object_update(vars, v1);
	json_object_set_new(vars, "v1", v1);
	json_object_set_new(vars, "ds", json_pack("{s:o}", "meta_data", meta));
	return vars;
}

static int user_data_gunzip(const void *in, size_t len, struct buf *out, struct pcg_error *err)
{
	z_stream z = { .next_in = (Bytef *)(uintptr_t)in, .avail_in = (uInt)len };
	char chunk[4096];
	int r;

	if (inflateInit2(&z, 16 + MAX_WBITS) != Z_OK)
		return pcg_fail(err, PCG_CLASS_BUG, "", "zlib cannot start");
	do {
		z.next_out = (Bytef *)chunk;
		z.avail_out = sizeof(chunk);
		r = inflate(&z, Z_NO_FLUSH);
		buf_add(out, chunk, sizeof(chunk) - z.avail_out);
	} while (r == Z_OK && !out->overflow);
	inflateEnd(&z);
	return r == Z_STREAM_END ? 0 : pcg_fail(err, PCG_CLASS_PERMANENT, "", "the gzip data is broken");
}

static int user_data_decode(const char *encoding, const char *content, struct buf *out,
			    struct pcg_error *err)
{
	bool b64 = strstr(encoding, "b64") || strstr(encoding, "base64");
	bool gz = strncmp(encoding, "gz", 2) == 0;
	AUTO_FREE uint8_t *raw = NULL;
	size_t len = strlen(content);

	if (!*encoding || strcmp(encoding, "text/plain") == 0)
		return buf_add(out, content, len);
	if (!b64)
		return pcg_fail(err, PCG_CLASS_PERMANENT, "Use base64 or gzip+base64.",
				"unknown encoding %s", encoding);
	raw = base64_decode(content, len, &len);
	if (!raw)
		return pcg_fail(err, PCG_CLASS_PERMANENT, "", "the content is not base64");
	return gz ? user_data_gunzip(raw, len, out, err) : buf_add(out, raw, len);
}

static int user_data_file(const json_t *file, json_t *files, struct pcg_error *err)
{
	const char *path = json_str(file, "path"), *content = json_str_or(file, "content", "");
	struct buf b;
	int r;

	if (!path || path[0] != '/')
		return pcg_fail(err, PCG_CLASS_PERMANENT, "",
				"cloud-init: a write_files entry has no absolute path");
	buf_init_secret(&b, USER_DATA_MAX);
	if (json_bool_or(file, "append", false))
		buf_adds(&b, json_string_value(json_object_get(files, path)) ?: "");
	r = user_data_decode(json_str_or(file, "encoding", ""), content, &b, err);
	if (r)
		pcg_fail_prefix(err, "cloud-init: write_files %s", path);
	else if (json_object_set_new(files, path, json_stringn(b.data, b.len)))
		r = pcg_fail(err, PCG_CLASS_PERMANENT, "", "cloud-init: %s is not text", path);
	buf_free(&b);
	return r;
}

static json_t *user_data_commands(const json_t *cloud_config)
{
	json_t *out = json_array(), *cmd;
	size_t i;

	json_array_foreach(json_object_get(cloud_config, "runcmd"), i, cmd) {
		struct buf b;
		size_t k;
		json_t *word;

		if (json_is_string(cmd)) {
			json_array_append(out, cmd);
			continue;
		}
		buf_init(&b, USER_DATA_MAX);
		json_array_foreach(cmd, k, word)
			buf_addf(&b, "%s%s", k ? " " : "", json_string_value(word) ?: "");
		json_array_append_new(out, json_string(b.data));
		buf_free(&b);
	}
	return out;
}

static int user_data_config(const char *text, json_t **out, struct pcg_error *err)
{
	AUTO_JSON json_t *doc = NULL, *files = json_object();
	json_t *file;
	size_t i;
	int r;

	r = yaml_load_one(text, strlen(text), "user data", &doc, err);
	if (r)
		return pcg_fail_prefix(err, "cloud-init: failed loading yaml");
	if (!json_is_object(doc))
		return pcg_fail(err, PCG_CLASS_PERMANENT, "", "cloud-init: the cloud-config is not a mapping");
	json_array_foreach(json_object_get(doc, "write_files"), i, file) {
		r = user_data_file(file, files, err);
		if (r)
			return r;
	}
	*out = json_pack("{s:O, s:o}", "files", files, "runcmd", user_data_commands(doc));
	json_wipe(TAKE(doc));
	return 0;
}

int user_data_read(const char *text, const json_t *metadata, json_t **out, struct pcg_error *err)
{
	static const char jinja_line[] = "## template: jinja\n", config_line[] = "#cloud-config";
	struct buf rendered;
	int r = 0;

	*out = NULL;
	buf_init_secret(&rendered, USER_DATA_MAX);
	if (strncmp(text, jinja_line, sizeof(jinja_line) - 1) == 0) {
		AUTO_JSON json_t *vars = user_data_vars(metadata);

		r = jinja_render(text + sizeof(jinja_line) - 1, vars, &rendered, err);
		if (r)
			pcg_fail_prefix(err, "cloud-init");
	} else {
		buf_adds(&rendered, text);
	}
	if (!r && strncmp(rendered.data, config_line, sizeof(config_line) - 1) != 0)
		r = pcg_fail(err, PCG_CLASS_PERMANENT, "Begin with \"## template: jinja\", \"#cloud-config\".",
			     "cloud-init: Unhandled non-multipart (text/x-not-multipart) userdata: \"%.24s\"",
			     rendered.data);
	if (!r)
		r = user_data_config(rendered.data, out, err);
	buf_free(&rendered);
	return r;
}
