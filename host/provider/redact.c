/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"
#include "host/provider/redact.h"
#include "core/buf.h"
#include "core/secret.h"

#include <assert.h>
#include <string.h>
#include <strings.h>

#define MIN_LEN 4 /* shorter ones would tear ordinary words apart */
#define MAX_TEXT (1u << 20)

struct redact {
	char **words; /* longest first: one secret may hold another */
	size_t n;
};

struct redact *redact_new(void)
{
	struct redact *r = calloc(1, sizeof(*r));

	assert(r);
	return r;
}

void redact_free(struct redact *r)
{
	if (!r)
		return;
	for (size_t i = 0; i < r->n; i++) {
		secret_wipe(r->words[i], strlen(r->words[i]));
		free(r->words[i]);
	}
	free(r->words);
	free(r);
}

static void learn_word(struct redact *r, const char *text, size_t len)
{
	size_t at = 0;
	char *copy;

	if (len < MIN_LEN)
		return;
	for (size_t i = 0; i < r->n; i++)
		if (strlen(r->words[i]) == len && memcmp(r->words[i], text, len) == 0)
			return;
	copy = strndup(text, len);
	r->words = reallocarray(r->words, r->n + 1, sizeof(*r->words));
	assert(copy && r->words);
	while (at < r->n && strlen(r->words[at]) >= len)
		at++;
	memmove(r->words + at + 1, r->words + at, (r->n - at) * sizeof(*r->words));
	r->words[at] = copy;
	r->n++;
}

/* A secret of several lines or parts (a cookie, a PEM) may come back one part at a time. */
void redact_learn_text(struct redact *r, const char *text)
{
	learn_word(r, text, strlen(text));
	while (*text) {
		size_t len = strcspn(text, "\r\n");

		if (len >= 16)
			learn_word(r, text, len);
		text += len + strspn(text + len, "\r\n");
	}
}

static bool sounds_secret(const char *name)
{
	static const char *const words[] = { "pass", "token", "secret", "cookie", "apikey", "api_key",
					     "privatekey", "private_key", "credential", "consumer" };

	for (size_t i = 0; i < ARRAY_LEN(words); i++)
		if (strcasestr(name, words[i]))
			return true;
	return strcasecmp(name, "key") == 0;
}

void redact_learn(struct redact *r, const json_t *doc, bool all)
{
	const char *name;
	json_t *value;
	size_t i;

	if (json_is_string(doc) && all)
		redact_learn_text(r, json_string_value(doc));
	json_object_foreach((json_t *)(uintptr_t)doc, name, value)
		redact_learn(r, value, all || sounds_secret(name));
	json_array_foreach(doc, i, value)
		redact_learn(r, value, all);
}

static size_t secret_at(const struct redact *r, const char *text)
{
	for (size_t i = 0; i < r->n; i++) {
		size_t len = strlen(r->words[i]);

		if (strncmp(text, r->words[i], len) == 0)
			return len;
	}
	return 0;
}

char *redact_text(const struct redact *r, const char *text)
{
	struct buf out;

	buf_init(&out, MAX_TEXT);
	while (text && *text && !out.overflow) {
		size_t len = secret_at(r, text);

		if (len)
			buf_adds(&out, "***");
		else
			buf_add(&out, text, 1);
		text += len ? len : 1;
	}
	out.overflow = false; /* cut at the limit */
	return buf_take(&out);
}
