/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "ctl/ctl.h"

#include "core/clock.h"
#include "core/stdout.h"
#include "core/table.h"
#include "core/utf8.h"

#include <stdio.h>
#include <string.h>

const char *show_text(const char *s)
{
	static char out[4][2048];
	static unsigned turn;
	char *o = out[turn++ % ARRAY_LEN(out)];

	snprintf(o, sizeof(out[0]), "%s", s ? s : "");
	utf8_for_terminal(o);
	return o;
}

void show_json(const json_t *j)
{
	json_dumpf(j, stdout, JSON_INDENT(2) | JSON_SORT_KEYS | JSON_ENCODE_ANY);
	putchar('\n');
}

void show_json_line(const json_t *j)
{
	json_dumpf(j, stdout, JSON_COMPACT | JSON_SORT_KEYS | JSON_ENCODE_ANY);
	putchar('\n');
	stdout_flush();
}

static const char *age(const json_t *o, const char *key, char out[16])
{
	int64_t at = clock_parse_rfc3339(json_str_or(o, key, ""));

	return at < 0 ? "-" : table_age(clock_wall_ms() - at, out);
}

static const char *waiting(const json_t *c)
{
	const json_t *k = json_at(c, "conditions.0");

	if (!strcmp(json_str_or(k, "status", "True"), "False"))
		return json_str_or(k, "cause", "");
	return json_str_or(k, "waitingFor", "");
}

int show_clusters(const json_t *list)
{
	static const char *const columns[] = { "NAME", "PHASE", "SINCE", "PROVIDER",
					       "ACCOUNT", "MACHINES", "WAITING FOR" };
	struct table *t = table_new(columns, ARRAY_LEN(columns));
	size_t i;
	json_t *c;

	json_array_foreach(json_object_get(list, "items"), i, c) {
		char since[16], machines[16];
		const char *account = json_str_or(c, "accountName", "");

		snprintf(machines, sizeof(machines), "%zu",
			 json_array_size(json_object_get(c, "machines")));
		table_row(t, (const char *[]){ json_str_or(c, "name", ""),
					       json_str_or(c, "phase", ""),
					       age(c, "phaseSince", since),
					       json_str_or(c, "provider", ""),
					       *account ? account : json_str_or(c, "account", ""),
					       machines, waiting(c) });
	}
	table_print(t, stdout);
	table_free(t);
	return CTL_DONE;
}

static void show_condition(const json_t *k)
{
	char since[16];

	printf("  %s: %s, for %s\n", json_str_or(k, "type", ""), json_str_or(k, "status", ""),
	       age(k, "since", since));
	if (json_str(k, "waitingFor"))
		printf("    waiting for: %s\n", show_text(json_str(k, "waitingFor")));
	if (json_str(k, "cause"))
		printf("    cause:       %s\n", show_text(json_str(k, "cause")));
	if (json_str_or(k, "remedy", "")[0])
		printf("    what to do:  %s\n", show_text(json_str(k, "remedy")));
	if (json_str(k, "nextTry"))
		printf("    next try:    %s\n", json_str(k, "nextTry"));
}

static void show_addresses(const json_t *pool)
{
	json_t *list = json_object_get(pool, "addresses"), *a;
	size_t i, n = json_array_size(list);

	printf("  addresses:   %zu of IP pool %s: ", n, show_text(json_str_or(pool, "name", "")));
	json_array_foreach(list, i, a)
		if (i < 8 || i + 1 == n)
			printf("%s%s", i == 8 && n > 9 ? ", .. " : i ? ", " : "", show_text(json_string_value(a)));
	putchar('\n');
}

int show_cluster(const json_t *c)
{
	static const char *const columns[] = { "MACHINE", "POOL", "ROLE", "STATE", "ADDRESS",
					       "PROVIDER ID" };
	json_t *machines = json_object_get(c, "machines"), *m;
	char since[16];
	size_t i;

	printf("%s (%s)\n", json_str_or(c, "name", ""), json_str_or(c, "uid", ""));
	printf("  phase:       %s, for %s\n", json_str_or(c, "phase", ""),
	       age(c, "phaseSince", since));
	printf("  generation:  %lld, epoch %lld, desired %s\n",
	       (long long)json_int_or(c, "generation", 0), (long long)json_int_or(c, "epoch", 0),
	       json_str_or(c, "desired", ""));
	printf("  provider:    %s, account %s\n", json_str_or(c, "provider", ""),
	       json_str_or(c, "accountName", ""));
	if (json_str(c, "endpoint.host"))
		printf("  endpoint:    https://%s:%lld\n", json_str(c, "endpoint.host"),
		       (long long)json_int_or(c, "endpoint.port", 0));
	json_array_foreach(json_object_get(c, "addressPools"), i, m)
		show_addresses(m);
	json_array_foreach(json_object_get(c, "conditions"), i, m)
		show_condition(m);
	json_array_foreach(json_object_get(c, "left"), i, m)
		printf("  left behind: %s (%s%s%s%s%s): %s\n", show_text(json_str_or(m, "name", "")),
		       show_text(json_str_or(m, "id", "")), json_str(m, "providerID") ? ", " : "",
		       show_text(json_str_or(m, "providerID", "")),
		       json_str(m, "addresses.0.address") ? ", " : "",
		       show_text(json_str_or(m, "addresses.0.address", "")),
		       show_text(json_str_or(m, "why", "")));
	if (json_array_size(machines)) {
		struct table *t = table_new(columns, ARRAY_LEN(columns));

		json_array_foreach(machines, i, m)
			table_row(t, (const char *[]){ json_str_or(m, "name", ""),
						       json_str_or(m, "pool", ""),
						       json_str_or(m, "role", ""),
						       json_str_or(m, "state", ""),
						       json_str_or(m, "address", ""),
						       json_str_or(m, "providerID", "") });
		putchar('\n');
		table_print(t, stdout);
		table_free(t);
	}
	return CTL_DONE;
}

static void field_text(const json_t *v, char *out, size_t size)
{
	if (json_is_string(v))
		snprintf(out, size, "%s", json_string_value(v));
	else if (json_is_integer(v))
		snprintf(out, size, "%lld", (long long)json_integer_value(v));
	else
		snprintf(out, size, "%s", json_is_true(v) ? "true" : "");
}

int show_history(const json_t *h)
{
	json_t *e, *v;
	const char *key;
	size_t i;

	json_array_foreach(json_object_get(h, "items"), i, e) {
		printf("%s  %-22s", json_str_or(e, "at", ""), json_str_or(e, "event", ""));
		json_object_foreach(e, key, v) {
			char text[1600];

			if (!strcmp(key, "at") || !strcmp(key, "event") || !strcmp(key, "uid") ||
			    !strcmp(key, "cluster"))
				continue;
			field_text(v, text, sizeof(text));
			if (*text)
				printf("  %s=%s", key, show_text(text));
		}
		putchar('\n');
	}
	return CTL_DONE;
}

int show_audit(const json_t *a)
{
	static const char *const columns[] = { "CLASS", "NAME", "ID", "CLUSTER", "ACCOUNT" };
	json_t *items = json_object_get(a, "items"), *o;
	struct table *t;
	size_t i;

	json_array_foreach(json_object_get(a, "problems"), i, o)
		fprintf(stderr, "pcgctl: account %s could not be looked at: %s\n  what to do: %s\n",
			show_text(json_str_or(o, "account", "")),
			show_text(json_str_or(o, "cause", "")),
			show_text(json_str_or(o, "remedy", "")));
	if (!json_array_size(items)) {
		if (!json_array_size(json_object_get(a, "problems")))
			printf("nothing found: infrastructure and store agree\n");
		return json_array_size(json_object_get(a, "problems")) ? CTL_FAILED : CTL_DONE;
	}
	t = table_new(columns, ARRAY_LEN(columns));
	json_array_foreach(items, i, o)
		table_row(t, (const char *[]){ json_str_or(o, "class", ""),
					       json_str_or(o, "name", ""), json_str_or(o, "id", ""),
					       json_str_or(o, "cluster", ""),
					       json_str_or(o, "account", "") });
	table_print(t, stdout);
	table_free(t);
	return CTL_AUDIT;
}

int show_plugins(const json_t *p)
{
	static const char *const columns[] = { "NAME", "VERSION", "ABI", "STATE", "ACCOUNTS",
					       "PATH", "REASON" };
	struct table *t = table_new(columns, ARRAY_LEN(columns));
	json_t *o;
	size_t i;

	json_array_foreach(json_object_get(p, "items"), i, o) {
		char n[16];

		snprintf(n, sizeof(n), "%zu", json_array_size(json_object_get(o, "accounts")));
		table_row(t, (const char *[]){ json_str_or(o, "name", ""),
					       json_str_or(o, "version", ""),
					       json_str_or(o, "abi", ""),
					       json_str_or(o, "state", ""), n,
					       json_str_or(o, "path", ""),
					       json_str_or(o, "reason", "") });
	}
	table_print(t, stdout);
	table_free(t);
	return CTL_DONE;
}

int show_policies(const json_t *p)
{
	json_t *t, *s;
	size_t i, k;

	json_array_foreach(json_object_get(p, "tenants"), i, t) {
		printf("%s\n", json_str_or(t, "tenant", ""));
		json_array_foreach(json_object_get(t, "scripts"), k, s)
			printf("  %s\n", json_is_string(s) ? json_string_value(s)
							   : json_str_or(s, "name", ""));
		if (json_str_or(t, "problem", "")[0])
			printf("  problem: %s\n", show_text(json_str(t, "problem")));
	}
	return CTL_DONE;
}

/* Everything waits for it, whatever the clusters say that they wait for. */
static void show_unwritable(const json_t *u)
{
	char since[16];

	printf("  store:     nothing can be written, for %s, and no cluster goes on\n", age(u, "since", since));
	printf("             %s\n", show_text(json_str_or(u, "cause", "")));
	if (json_str_or(u, "remedy", "")[0])
		printf("             what to do: %s\n", show_text(json_str(u, "remedy")));
}

int show_status(const json_t *s)
{
	const json_t *k = json_object_get(s, "confinement");
	const char *key;
	json_t *v;
	char since[16];
	size_t i;

	printf("pcgd %s, gateway %s, up for %s\n", json_str_or(s, "version", ""),
	       json_str_or(s, "uid", "")[0] ? json_str(s, "uid") : "(not paired)",
	       age(s, "since", since));
	printf("  plane:     %s, %s for %s\n", json_str_or(s, "plane", ""),
	       json_str_or(s, "link.state", ""), age(json_object_get(s, "link"), "since", since));
	if (json_str_or(s, "link.cause", "")[0])
		printf("             %s\n", show_text(json_str(s, "link.cause")));
	if (json_str_or(s, "link.remedy", "")[0])
		printf("             what to do: %s\n", show_text(json_str(s, "link.remedy")));
	printf("  clusters:  %lld, %lld in flight, %lld reports waiting\n",
	       (long long)json_int_or(s, "clusters.clusters", 0),
	       (long long)json_int_or(s, "clusters.inFlight", 0),
	       (long long)json_int_or(s, "clusters.reportsWaiting", 0));
	if (json_at(s, "store.unwritable"))
		show_unwritable(json_at(s, "store.unwritable"));
	json_array_foreach(json_at(s, "plugins.items"), i, v)
		printf("  provider:  %s %s %s%s%s\n", json_str_or(v, "name", ""),
		       json_str_or(v, "version", ""), json_str_or(v, "state", ""),
		       json_str_or(v, "reason", "")[0] ? ": " : "",
		       show_text(json_str_or(v, "reason", "")));
	json_array_foreach(json_object_get(s, "insecureAccounts"), i, v)
		printf("  INSECURE:  account %s does not verify its endpoint's certificate\n",
		       json_string_value(v));
	json_object_foreach((json_t *)k, key, v)
		if (strcmp(key, "coreDumps") &&
		    (json_is_false(v) || (json_is_integer(v) && !json_integer_value(v))))
			printf("  kernel:    has no %s: workers run without it\n", key);
	return CTL_DONE;
}
