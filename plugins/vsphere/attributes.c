/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "plugins/vsphere/finish.h"

#include "plugins/vsphere/kept.h"
#include "plugins/vsphere/task.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Custom attributes: definitions by name for the whole vCenter (CustomFieldsManager), values by the definition's key. */

#define KIND "attribute"

static void on_fields(void *arg, const struct xn *object)
{
	struct vsphere *v = arg;
	const struct xn *val = xn_prop(object, "field");

	for (const struct xn *f = xn_child(val, "CustomFieldDef"); f; f = xn_next(f, "CustomFieldDef")) {
		const char *type = xn_get(f, "managedObjectType");

		/* One without a type is for all kinds of objects. */
		if (!*type || strcmp(type, "VirtualMachine") == 0)
			kept_put(v, KIND, xn_get(f, "name"), xn_get(f, "key"));
	}
}

static int fields_read(struct vsphere *v, struct pcg_call *call, struct vs_err *err)
{
	static const char *const paths[] = { "field" };

	return object_read(v, call, &v->session.fields, paths, 1, on_fields, v, err);
}

static int field_make(struct vsphere *v, struct pcg_call *call, const char *name, char *key, size_t size, struct vs_err *err)
{
	struct xn *reply = NULL;
	struct soap s;
	int r;

	soap_begin(&s, "AddCustomFieldDef", &v->session.fields);
	soap_text(&s, "name", name);
	soap_text(&s, "moType", "VirtualMachine");
	soap_finish(&s);
	r = vs_call(&v->session, call, &s, 0, 0, 0, &reply, err);
	if (!r)
		snprintf(key, size, "%s", xn_get(xn_child(vs_result(reply), "returnval"), "key"));
	xn_free(reply);
	/* Somebody made it meanwhile. */
	if (r && strcmp(err->fault, "DuplicateName") == 0) {
		r = fields_read(v, call, err);
		if (!r && !kept_get(v, KIND, name, key, size)) {
			vs_fail(err, PCG_ERR_PERMANENT, "Rename that custom attribute in vCenter, or the one of the request.",
				"the custom attribute \"%s\" is one of other objects, not of virtual machines", name);
			r = -1;
		}
	}
	if (!r)
		kept_put(v, KIND, name, key);
	return r;
}

static int value_try(struct vsphere *v, struct pcg_call *call, const struct vs_ref *vm, const char *name, const char *value,
		     struct vs_err *err)
{
	struct xn *reply = NULL;
	struct soap s;
	char key[24];
	int r = 0;

	if (!kept_get(v, KIND, name, key, sizeof(key)))
		r = fields_read(v, call, err);
	if (!r && !kept_get(v, KIND, name, key, sizeof(key)))
		r = field_make(v, call, name, key, sizeof(key), err);
	if (r)
		return r;
	soap_begin(&s, "SetField", &v->session.fields);
	soap_ref(&s, "entity", vm);
	soap_text(&s, "key", key);
	soap_text(&s, "value", value);
	soap_finish(&s);
	r = vs_call(&v->session, call, &s, 0, 0, 0, &reply, err);
	xn_free(reply);
	return r;
}

/* A definition that somebody made anew under its name has another key. */
static int value_set(struct vsphere *v, struct pcg_call *call, const struct vs_ref *vm, const char *name, const char *value,
		     struct vs_err *err)
{
	int r = value_try(v, call, vm, name, value, err);

	if (!r || (strcmp(err->fault, "InvalidArgument") != 0 && strcmp(err->fault, "ManagedObjectNotFound") != 0))
		return r;
	kept_forget(v);
	return value_try(v, call, vm, name, value, err);
}

int attributes_set(struct vsphere *v, struct pcg_call *call, const struct vs_ref *vm, const json_t *attributes,
		   struct vs_err *err)
{
	struct vs_err why;
	const char *name;
	json_t *value;
	unsigned generation;
	int r = vs_session_open(&v->session, call, &generation, err);

	if (r)
		return r;
	json_object_foreach((json_t *)(uintptr_t)attributes, name, value) {
		if (!value_set(v, call, vm, name, json_string_value(value) ? json_string_value(value) : "", err))
			continue;
		why = *err;
		vs_fail(err, why.class, why.remedy, "custom attribute \"%s\": %s", name, why.text);
		return -1;
	}
	return 0;
}
