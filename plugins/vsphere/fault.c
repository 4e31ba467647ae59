/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "plugins/vsphere/fault.h"

#include <stdio.h>
#include <string.h>

#define WAITS "Nothing: it is tried again."
/* A vCenter answers a user who is locked, or whose password has expired, as it does a wrong password. */
#define CHECK_USER "Correct username and password of the cloud account; if both are right, see whether the user is locked, disabled or expired."
#define ASK_ADMIN "Give the account's role that privilege on the object."
#define CHECK_CONFIG "Check the pool's cloudConfig against the template (processors, memory, disk, network)."
#define CHECK_HOST "Check the host in vCenter."
#define CHECK_LICENCE "Check the licences in vCenter."
#define CHECK_DATASTORE "Check the datastore in vCenter."
#define CHECK_TEMPLATE "Check the template: a clone of it by hand must start in the same place."
#define MAKE_ROOM "Add hosts, or free processors and memory there."

static const struct fault {
	const char *type, *base; /* base: of one that means the same */
	uint32_t class;
	const char *text, *remedy;
} faults[] = {
#define FAULT(type, class, text, remedy) { #type, NULL, PCG_ERR_##class, text, remedy },
#define FAULT_AS(type, base) { #type, #base, 0, NULL, NULL },
#include "plugins/vsphere/fault_types.def"
#undef FAULT
#undef FAULT_AS
};

#define N_FAULTS (sizeof(faults) / sizeof(faults[0]))

static const struct fault *fault_find(const char *type)
{
	for (size_t i = 0; i < N_FAULTS; i++)
		if (strcmp(faults[i].type, type) == 0)
			return faults[i].base ? fault_find(faults[i].base) : &faults[i];
	return NULL;
}

const char *vs_fault_type(size_t i)
{
	return i < N_FAULTS ? faults[i].type : NULL;
}

void vs_fault(struct vs_err *err, const char *what, const char *type, const char *message)
{
	const struct fault *f = fault_find(type);

	if (!message)
		message = "";
	if (f)
		vs_fail(err, f->class, f->remedy, "%s: %s (%s%s%s)", what, f->text, type, *message ? ": " : "", message);
	else
		vs_fail(err, PCG_ERR_RETRY, "Look at the task in vCenter.", "%s: vCenter answered %s%s%s", what,
			*type ? type : "a fault without type", *message ? ": " : "", message);
	snprintf(err->fault, sizeof(err->fault), "%s", type);
	vs_utf8(err->fault);
}

/* Members that say which: their text, or that of the reference. As in the vSphere Web Services API, at the faults' types. */
static const char *const telling[] = { "privilegeId", "name", "object", "obj", "file", "datastore", "existingState", "invalidProperty",
				       "property", "argumentName", "reason", "method", "limit", "unreserved", "requested" };

static void tell(const struct xn *fault, const char *message, char *out, size_t size)
{
	size_t at = (size_t)snprintf(out, size, "%s", message);

	for (const struct xn *m = xn_child(fault, "faultMessage"); m && at < size; m = xn_next(m, "faultMessage"))
		if (*xn_get(m, "message") && !strstr(message, xn_get(m, "message")))
			at += (size_t)snprintf(out + at, size - at, "%s%s", at ? " " : "", xn_get(m, "message"));
	for (size_t i = 0; i < sizeof(telling) / sizeof(telling[0]) && at < size; i++)
		if (*xn_get(fault, telling[i]))
			at += (size_t)snprintf(out + at, size - at, "%s%s %s", at ? ", " : "", telling[i],
					       xn_get(fault, telling[i]));
}

/* Where DRS is off a vCenter may want to be told a host, which this provider leaves to it. */
static bool about_host(const char *type, const struct xn *fault)
{
	const char *property = xn_get(fault, "invalidProperty");
	size_t n = strlen(property);

	return strcmp(type, "InvalidArgument") == 0 && n >= 4 && strcmp(property + n - 4, "host") == 0;
}

void vs_fault_of(struct vs_err *err, const char *what, const struct xn *fault, const char *message)
{
	char type[sizeof(err->fault)] = "", told[512];
	size_t len;

	if (fault && (fault->xsi || strcmp(fault->name, "fault") != 0))
		snprintf(type, sizeof(type), "%s", fault->xsi ? fault->xsi : fault->name);
	len = strlen(type);
	if (fault && !fault->xsi && len > 5 && strcmp(type + len - 5, "Fault") == 0 && !fault_find(type))
		type[len - 5] = 0;
	tell(fault, message ? message : "", told, sizeof(told));
	vs_fault(err, what, type, told);
	if (about_host(type, fault))
		snprintf(err->remedy, sizeof(err->remedy), "Turn DRS on for the compute cluster (partially automated is enough), or name "
			 "one that has it: this vCenter chooses no host without it.");
}
