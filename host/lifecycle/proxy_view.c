/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "host/lifecycle/proxy_view.h"

#include "core/attr.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

static const char *const url_fields[] = {"httpProxy", "httpsProxy"};

/* "a, b c" as NO_PROXY has it. */
static json_t *list_of(const char *text)
{
	json_t *list = json_array();

	while (*text) {
		size_t n = strcspn(text, ", \t");

		if (n)
			json_array_append_new(list, json_stringn(text, n));
		text += n + (text[n] != '\0');
	}
	return list;
}

/* Without user and password, and without the slash that may end it. A proxy's URL has no path, so
 * the last @ ends the credentials whatever is in them. The caller frees. */
static char *without_credentials(const char *url)
{
	const char *host = strstr(url, "://"), *at = strrchr(url, '@');
	char *out = malloc(strlen(url) + 1);
	size_t n;

	assert(out);
	host = host ? host + 3 : url;
	at = at && at >= host ? at + 1 : host;
	n = (size_t)(host - url);
	memcpy(out, url, n);
	strcpy(out + n, at);
	n = strlen(out);
	if (n && out[n - 1] == '/')
		out[n - 1] = '\0';
	return out;
}

static json_t *settle(json_t *settings)
{
	for (size_t i = 0; i < ARRAY_LEN(url_fields); i++)
		if (!*json_str_or(settings, url_fields[i], ""))
			json_object_del(settings, url_fields[i]);
	if (json_object_get(settings, "httpProxy") || json_object_get(settings, "httpsProxy"))
		return settings;
	json_decref(settings);
	return json_null();
}

json_t *proxy_view_settings(const json_t *proxy)
{
	json_t *out, *no_proxy;

	if (!json_is_object(proxy))
		return json_null();
	out = json_deep_copy(proxy);
	no_proxy = json_object_get(out, "noProxy");
	if (!json_is_array(no_proxy))
		json_object_set_new(out, "noProxy", list_of(json_str_or(proxy, "noProxy", "")));
	return settle(out);
}

json_t *proxy_view_public(const json_t *settings)
{
	json_t *out;

	if (!json_is_object(settings))
		return json_null();
	out = json_object();
	json_object_set(out, "noProxy", json_object_get(settings, "noProxy"));
	for (size_t i = 0; i < ARRAY_LEN(url_fields); i++) {
		const char *url = json_str(settings, url_fields[i]);
		AUTO_FREE char *bare = url ? without_credentials(url) : NULL;

		if (bare)
			json_object_set_new(out, url_fields[i], json_string(bare));
	}
	return out;
}

/* The URL of the settings that is this one but for credentials, the same field's first; else the
 * URL itself. */
static const char *with_credentials(const json_t *settings, size_t field, const char *url)
{
	AUTO_FREE char *asked = without_credentials(url);

	if (strchr(url, '@'))
		return url;
	for (size_t i = 0; i < ARRAY_LEN(url_fields); i++) {
		const char *kept =
			json_str(settings, url_fields[(field + i) % ARRAY_LEN(url_fields)]);
		AUTO_FREE char *bare = kept ? without_credentials(kept) : NULL;

		if (bare && !strcasecmp(bare, asked))
			return kept;
	}
	return url;
}

json_t *proxy_view_merge(const json_t *settings, const json_t *result)
{
	json_t *out = json_is_object(settings) ? json_deep_copy(settings) : json_object();
	json_t *no_proxy = json_object_get(result, "noProxy");

	for (size_t i = 0; i < ARRAY_LEN(url_fields); i++) {
		const char *url = json_str(result, url_fields[i]);

		if (url)
			json_object_set_new(out, url_fields[i],
					    json_string(with_credentials(settings, i, url)));
	}
	if (no_proxy)
		json_object_set_new(out, "noProxy", json_deep_copy(no_proxy));
	else if (!json_object_get(out, "noProxy"))
		json_object_set_new(out, "noProxy", json_array());
	return settle(out);
}
