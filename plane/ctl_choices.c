/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"
#include "plane/ctl.h"

#include <stdio.h>
#include <string.h>

/* pcg-planectl account choices: what an account's infrastructure has to choose from, printed page by page. */

#define PAGE 200

/* With one account there is nothing to choose. */
static int choose_account(struct ctl *c, json_t **account)
{
	struct ctl_reply reply;
	json_t *items;
	int r;

	if (c->account)
		return ctl_find_account(c, c->account, account);
	r = ctl_call(c, "GET", "/v1/cloudaccounts/summary", NULL, 0, &reply);
	items = json_object_get(reply.json, "items");
	if (!r && json_array_size(items) == 1)
		*account = json_incref(json_array_get(items, 0));
	else if (!r)
		r = ctl_fail(CTL_USAGE, "there are %zu accounts: say which one with --account NAME|UID (pcg-planectl account list)",
			     json_array_size(items));
	ctl_reply_free(&reply);
	return r;
}

static void put_escaped(FILE *out, const char *text)
{
	for (const unsigned char *s = (const unsigned char *)text; *s; s++)
		if ((*s >= '0' && *s <= '9') || (*s >= 'a' && *s <= 'z') || (*s >= 'A' && *s <= 'Z') || strchr("-._~", *s))
			fputc(*s, out);
		else
			fprintf(out, "%%%02X", *s);
}

/* Of the request itself: as a filter they would change what is asked. */
static bool is_filter(const char *name, size_t len)
{
	static const char *const others[] = { "limit", "continue", "accountUid" };

	for (size_t i = 0; i < ARRAY_LEN(others); i++)
		if (strlen(others[i]) == len && strncmp(others[i], name, len) == 0)
			return false;
	return len && strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ") == len;
}

/* "&datacenter=DC0" for each --filter datacenter=DC0. NULL: one of them is not NAME=VALUE, which was told. */
static char *filters_text(const struct ctl *c)
{
	char *text = NULL;
	size_t size;
	FILE *out = open_memstream(&text, &size);
	bool good = out != NULL;

	for (size_t i = 0; good && i < c->n_filters; i++) {
		const char *eq = strchr(c->filters[i], '=');
		size_t n = eq ? (size_t)(eq - c->filters[i]) : 0;

		good = is_filter(c->filters[i], n);
		if (!good)
			break;
		fprintf(out, "&%.*s=", (int)n, c->filters[i]);
		put_escaped(out, eq + 1);
	}
	if (out)
		fclose(out);
	if (good)
		return text;
	free(text);
	ctl_fail(CTL_USAGE, "--filter takes NAME=VALUE, for example datacenter=DC0");
	return NULL;
}

/* Pages are printed as they come, so a page's columns are as wide as that page needs. JSON is one object; cut short, it was
 * an error. */
static void print_page(const struct ctl *c, const json_t *items, bool kinds, bool first, size_t printed)
{
	static const char *const columns[] = { "NAME", "ID", "TYPE", "PATH", NULL };
	static const char *const paths[] = { "name", "id", "type", "path", NULL };
	static const char *const kind_columns[] = { "KIND", "WHAT", NULL }, *const kind_paths[] = { "name", "text", NULL };
	json_t *item;
	size_t i;

	if (!c->json && kinds) {
		ctl_table(items, kind_columns, kind_paths);
	} else if (!c->json) {
		ctl_table_rows(items, columns, paths, first);
	} else {
		json_array_foreach((json_t *)(uintptr_t)items, i, item) {
			fputs(printed + i ? "," : "", stdout);
			json_dumpf(item, stdout, JSON_COMPACT);
		}
	}
}

static int page_get(struct ctl *c, const json_t *account, const char *kind, const char *filters, const char *token,
		    struct ctl_reply *reply)
{
	char *path = NULL;
	size_t size;
	FILE *out = open_memstream(&path, &size);
	int r;

	if (!out)
		return ctl_fail(CTL_FAILED, "out of memory");
	fputs("/v1/pcg/", out);
	put_escaped(out, json_str_or(account, "metadata.annotations.overlordUid", ""));
	fputs("/picklists/", out);
	put_escaped(out, kind);
	fputs("?accountUid=", out);
	put_escaped(out, json_str_or(account, "metadata.uid", ""));
	fprintf(out, "&limit=%d%s", PAGE, filters);
	if (*token)
		fputs("&continue=", out);
	put_escaped(out, token);
	fclose(out);
	r = ctl_call(c, "GET", path, NULL, 0, reply);
	free(path);
	return r;
}

int ctl_account_choices(struct ctl *c, const char *arg)
{
	AUTO_JSON json_t *account = NULL;
	AUTO_FREE char *filters = filters_text(c);
	const char *kind = arg ? arg : "kinds";
	char token[256] = "";
	size_t printed = 0;
	bool first = true;
	int r = filters ? choose_account(c, &account) : CTL_USAGE;

	while (!r && !ferror(stdout) && (first || *token)) {
		struct ctl_reply reply;
		const json_t *items;

		r = page_get(c, account, kind, filters, token, &reply);
		items = json_object_get(reply.json, "items");
		if (!r) {
			if (first && c->json)
				fputs("{\"items\":[", stdout);
			print_page(c, items, strcmp(kind, "kinds") == 0, first, printed);
			printed += json_array_size(items);
			first = false;
			snprintf(token, sizeof(token), "%s", json_str_or(reply.json, "listmeta.continue", ""));
		}
		ctl_reply_free(&reply);
	}
	if (!r && c->json)
		puts("]}");
	return r;
}
