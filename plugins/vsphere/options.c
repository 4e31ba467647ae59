/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "plugins/vsphere/options.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FIELD "pool.cloudConfig."
#define DATA_DISKS_MAX 29 /* the vSphere controllers take no more */
#define CORES "Give a number that divides numCPUs."

struct reader {
	const struct vsphere *v;
	const json_t *cloud, *of_cluster, *settings;
	json_t *problems;
};

static const json_t *option(const struct reader *r, const char *name)
{
	const json_t *places[] = { r->cloud, r->of_cluster, r->settings };

	for (size_t i = 0; i < 3; i++) {
		const json_t *j = json_object_get(places[i], name);

		if (j && !json_is_null(j) && !(json_is_string(j) && !json_string_length(j)))
			return j;
	}
	return NULL;
}

static void wrong(const struct reader *r, const char *name, const char *must)
{
	char field[160];

	snprintf(field, sizeof(field), FIELD "%s", name);
	vs_problem(r->problems, field, "Correct it, or leave it out.", "%s must be %s", name, must);
}

/* Nothing that XML has no way to write. */
static bool is_text(const json_t *j)
{
	const char *c = json_string_value(j);

	for (; c && *c; c++)
		if ((unsigned char)*c < ' ' && !strchr("\t\n\r", *c))
			return false;
	return c != NULL;
}

static const char *text(const struct reader *r, const char *name)
{
	const json_t *j = option(r, name);

	if (j && !is_text(j))
		wrong(r, name, "a text without control characters");
	return json_is_string(j) ? json_string_value(j) : "";
}

/* Palette's clients write whole numbers as floating point ones too. */
static json_int_t number(const struct reader *r, const json_t *object, const char *group, const char *key, json_int_t least,
			 json_int_t most)
{
	const json_t *j = json_object_get(object, key);
	json_int_t n = json_is_number(j) ? (json_int_t)json_number_value(j) : 0;
	char name[80], must[80];

	if (!j || json_is_null(j) || (json_is_number(j) && !n))
		return 0;
	if (json_is_number(j) && n >= least && n <= most)
		return n;
	snprintf(name, sizeof(name), "%s.%s", group, key);
	snprintf(must, sizeof(must), "a number from %" JSON_INTEGER_FORMAT " to %" JSON_INTEGER_FORMAT, least, most);
	wrong(r, name, must);
	return 0;
}

/* vSphere's configuration maximums of 8.0; vCenter itself refuses what its version cannot. */
static void read_size(const struct reader *r, struct vs_options *o)
{
	const json_t *type = json_object_get(r->cloud, "instanceType");

	o->cpus = number(r, type, "instanceType", "numCPUs", 1, 768);
	o->cores = number(r, type, "instanceType", "numCoresPerSocket", 1, 768);
	o->memory_mib = number(r, type, "instanceType", "memoryMiB", 4, 24 << 20);
	o->disk_gib = number(r, type, "instanceType", "diskGiB", 1, 62 << 10);
	/* kubeadm wants two, and the vSphere controllers make none with less. */
	o->cpus = o->cpus < 2 ? 2 : o->cpus;
	o->memory_mib = o->memory_mib ? o->memory_mib : 4096;
	if (o->cores && o->cpus % o->cores)
		vs_problem(r->problems, FIELD "instanceType.numCoresPerSocket", CORES,
			   "%" JSON_INTEGER_FORMAT " processors cannot be sockets of %" JSON_INTEGER_FORMAT " cores each", o->cpus,
			   o->cores);
	/* "Change the Memory Configuration" in vSphere Virtual Machine Administration, 7.0 and 8.0. */
	if (o->memory_mib % 4)
		vs_problem(r->problems, FIELD "instanceType.memoryMiB", "Give a multiple of 4.",
			   "%" JSON_INTEGER_FORMAT " MiB is no memory of a machine: vCenter takes multiples of 4 MiB", o->memory_mib);
}

static void read_share(const struct reader *r, const char *key, const char *shares, json_int_t most, struct vs_share *s)
{
	const json_t *resources = json_object_get(r->cloud, "resources");

	s->reservation = number(r, json_object_get(resources, "requests"), "resources.requests", key, 1, most);
	s->limit = number(r, json_object_get(resources, "limits"), "resources.limits", key, 1, most);
	s->shares = number(r, json_object_get(resources, "shares"), "resources.shares", shares, 1, 1000000);
	if (s->limit && s->reservation > s->limit)
		vs_problem(r->problems, FIELD "resources", "Raise the limit, or lower the reservation.",
			   "the reservation of %s, %" JSON_INTEGER_FORMAT ", is above its limit, %" JSON_INTEGER_FORMAT, shares,
			   s->reservation, s->limit);
}

static void read_resources(const struct reader *r, struct vs_options *o)
{
	read_share(r, "cpuMHz", "cpu", 10000000, &o->cpu);
	read_share(r, "memoryMiB", "memory", 24 << 20, &o->memory);
	if (o->memory.reservation > o->memory_mib)
		vs_problem(r->problems, FIELD "resources.requests.memoryMiB", "Reserve at most memoryMiB.",
			   "%" JSON_INTEGER_FORMAT " MiB are to be reserved for machines of %" JSON_INTEGER_FORMAT " MiB",
			   o->memory.reservation, o->memory_mib);
}

static const json_t *list(const struct reader *r, const char *name, size_t most, bool (*good)(const json_t *), const char *must)
{
	const json_t *j = option(r, name);
	bool well = json_is_array(j) && json_array_size(j) <= most;
	json_t *one;
	size_t i;

	if (!j)
		return NULL;
	json_array_foreach(j, i, one)
		well = well && good(one);
	if (!well)
		wrong(r, name, must);
	return well && json_array_size(j) ? j : NULL;
}

static bool is_gib(const json_t *j)
{
	return json_is_integer(j) && json_integer_value(j) >= 1 && json_integer_value(j) <= 62 << 10;
}

static bool is_disk(const json_t *j)
{
	static const char *const modes[] = { "", "Thin", "Thick", "EagerlyZeroed" };
	const char *mode = vs_str(j, "provisioningMode");

	for (size_t i = 0; i < sizeof(modes) / sizeof(modes[0]); i++)
		if (strcmp(modes[i], mode) == 0)
			return *vs_str(j, "name") && is_gib(json_object_get(j, "sizeGiB"));
	return false;
}

static bool is_name(const json_t *j)
{
	return json_is_string(j) && json_string_length(j);
}

static void read_disks(const struct reader *r, struct vs_options *o)
{
	json_t *one, *other;
	size_t i, k;

	o->template_disks = list(r, "additionalDisksGiB", DATA_DISKS_MAX, is_gib, "a list of sizes in GiB");
	o->data_disks = list(r, "dataDisks", DATA_DISKS_MAX, is_disk,
			     "a list of at most 29 disks with name, sizeGiB and, if it is given, provisioningMode Thin, Thick or "
			     "EagerlyZeroed");
	json_array_foreach(o->data_disks, i, one)
		json_array_foreach(o->data_disks, k, other)
			if (k > i && strcmp(vs_str(one, "name"), vs_str(other, "name")) == 0)
				wrong(r, "dataDisks", "a list of disks with names of their own");
}

static bool one_of(const struct reader *r, const char *name, const char *value, const char *const *values)
{
	char must[120] = "one of";

	for (const char *const *x = values; *x; x++) {
		size_t n = strlen(must);

		if (strcmp(*x, value) == 0)
			return true;
		snprintf(must + n, sizeof(must) - n, " %s", *x);
	}
	if (*value)
		wrong(r, name, must);
	return false;
}

int options_hardware(const char *version)
{
	char *end;
	long n;

	if (strncmp(version, "vmx-", 4) != 0 || !version[4])
		return 0;
	n = strtol(version + 4, &end, 10);
	return !*end && n > 0 && n < 1000 ? (int)n : 0;
}

static void read_clone(const struct reader *r, struct vs_options *o)
{
	static const char *const modes[] = { "fullClone", "linkedClone", NULL }, *const offs[] = { "hard", "soft", "trySoft", NULL };
	const char *mode = text(r, "cloneMode");

	one_of(r, "cloneMode", mode, modes);
	o->linked = strcmp(mode, "linkedClone") == 0;
	o->snapshot = text(r, "snapshot");
	o->hardware = text(r, "hardwareVersion");
	if (*o->hardware && !options_hardware(o->hardware))
		wrong(r, "hardwareVersion", "a version such as vmx-19");
	o->power_off_mode = text(r, "powerOffMode");
	if (!one_of(r, "powerOffMode", o->power_off_mode, offs))
		o->power_off_mode = "hard";
	o->soft_off_s = number(r, r->cloud, "cloudConfig", "guestSoftPowerOffTimeoutSeconds", 1, 86400);
}

static void read_labels(const struct reader *r, struct vs_options *o)
{
	const json_t *affinity = option(r, "antiAffinity");
	const char *key;
	json_t *value;

	o->notes = text(r, "notes");
	o->policy = text(r, "storagePolicyName");
	o->tags = list(r, "tags", 128, is_name, "a list of at most 128 tags, each as CATEGORY/NAME or its id");
	o->attributes = option(r, "customAttributes");
	if (o->attributes && !json_is_object(o->attributes)) {
		wrong(r, "customAttributes", "an object of texts");
		o->attributes = NULL;
	}
	json_object_foreach((json_t *)(uintptr_t)o->attributes, key, value)
		if (!is_text(value))
			wrong(r, "customAttributes", "an object of texts without control characters");
	if (affinity && !json_is_boolean(affinity))
		wrong(r, "antiAffinity", "true or false");
	o->anti_affinity = json_is_true(affinity);
	o->together = json_is_false(affinity);
}

void options_read(const struct vsphere *v, const json_t *cluster, const json_t *pool, const json_t *where, struct vs_options *o,
		  json_t *problems)
{
	struct reader r = { .v = v, .cloud = json_object_get(pool, "cloudConfig"),
			    .of_cluster = json_object_get(json_object_get(cluster, "spec"), "cloudConfig"),
			    .settings = json_object_get(v->account, "settings"), .problems = problems };

	memset(o, 0, sizeof(*o));
	read_size(&r, o);
	read_resources(&r, o);
	read_disks(&r, o);
	read_clone(&r, o);
	read_labels(&r, o);
	if (!*o->policy)
		o->policy = vs_str(where, "storagePolicyName");
}
