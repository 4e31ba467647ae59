/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "plugins/vsphere/finish.h"

#include "plugins/vsphere/kept.h"
#include "plugins/vsphere/rest.h"

#include <stdio.h>
#include <string.h>

/* Tags, which are behind the REST API alone (com.vmware.cis.tagging). Requests name them CATEGORY/NAME; the vSphere
 * controllers are told their ids. */

#define KIND "tag"
#define URN "urn:vmomi:InventoryServiceTag:"

static int ask(struct vsphere *v, struct pcg_call *call, const char *method, const char *service, const char *id, const char *action,
	       const json_t *body, json_t **reply, struct vs_err *err)
{
	struct vs_rest_call what = { .method = method, .service = service, .id = id, .action = action, .body = body };

	return vs_rest(&v->session, call, &what, reply, err);
}

static int category_find(struct vsphere *v, struct pcg_call *call, const char *name, char *id, size_t size, struct vs_err *err)
{
	json_t *ids = NULL, *one, *category;
	size_t i;
	int r = ask(v, call, "GET", "cis/tagging/category", NULL, NULL, NULL, &ids, err);

	*id = 0;
	json_array_foreach(ids, i, one) {
		if (r || *id)
			break;
		r = ask(v, call, "GET", "cis/tagging/category", json_string_value(one), NULL, NULL, &category, err);
		if (r && strcmp(err->fault, "NOT_FOUND") == 0) {
			r = 0; /* removed meanwhile */
			continue;
		}
		if (!r && strcmp(vs_str(category, "name"), name) == 0)
			snprintf(id, size, "%s", json_string_value(one));
		if (!r)
			json_decref(category);
	}
	json_decref(ids);
	return r;
}

int tags_of(struct vsphere *v, struct pcg_call *call, const char *category, json_t **ids, struct vs_err *err)
{
	json_t *body = json_pack("{s:s}", "category_id", category);
	struct vs_rest_call what = { .method = "POST", .service = "cis/tagging/tag", .action = "list-tags-for-category", .body = body,
				     .rest_id = category };
	int r = vs_rest(&v->session, call, &what, ids, err);

	json_decref(body);
	return r;
}

/* Keeps the ids of all tags of the category. */
static int category_read(struct vsphere *v, struct pcg_call *call, const char *name, const char *category, struct vs_err *err)
{
	json_t *ids = NULL, *one, *tag;
	size_t i;
	int r = tags_of(v, call, category, &ids, err);

	json_array_foreach(ids, i, one) {
		char full[1100];

		if (r)
			break;
		r = ask(v, call, "GET", "cis/tagging/tag", json_string_value(one), NULL, NULL, &tag, err);
		if (r && strcmp(err->fault, "NOT_FOUND") == 0) {
			r = 0;
			continue;
		}
		if (r)
			break;
		snprintf(full, sizeof(full), "%s/%s", name, vs_str(tag, "name"));
		kept_put(v, KIND, full, json_string_value(one));
		json_decref(tag);
	}
	json_decref(ids);
	return r;
}

/* *id is empty when there is none: then why says what is missing. */
static int resolve(struct vsphere *v, struct pcg_call *call, const char *tag, char *id, size_t size, char *why, size_t why_size,
		   struct vs_err *err)
{
	const char *slash = strchr(tag, '/');
	char category[600], category_id[128];
	int r;

	*why = 0;
	if (strncmp(tag, URN, strlen(URN)) == 0) {
		snprintf(id, size, "%s", tag);
		return 0;
	}
	*id = 0;
	if (!slash || slash == tag || !slash[1]) {
		snprintf(why, why_size, "the tag \"%s\" is neither CATEGORY/NAME nor an id", tag);
		return 0;
	}
	if (kept_get(v, KIND, tag, id, size))
		return 0;
	snprintf(category, sizeof(category), "%.*s", (int)(slash - tag), tag);
	r = category_find(v, call, category, category_id, sizeof(category_id), err);
	if (r)
		return r;
	if (!*category_id) {
		snprintf(why, why_size, "there is no category \"%s\" of tags in this vCenter", category);
		return 0;
	}
	r = category_read(v, call, category, category_id, err);
	if (!r && !kept_get(v, KIND, tag, id, size))
		snprintf(why, why_size, "there is no tag \"%s\" in category \"%s\"", slash + 1, category);
	return r;
}

int tags_resolve(struct vsphere *v, struct pcg_call *call, const json_t *tags, json_t *ids, json_t *problems,
		 struct vs_err *err)
{
	json_t *one;
	size_t i;

	json_array_foreach(tags, i, one) {
		char id[160], why[1500];

		if (resolve(v, call, json_string_value(one), id, sizeof(id), why, sizeof(why), err))
			return -1;
		if (*why)
			vs_problem(problems, "pool.cloudConfig.tags", "Make the tag in vCenter, or correct its name.", "%s", why);
		else
			json_array_append_new(ids, json_string(id));
	}
	return 0;
}

static int category_name(struct vsphere *v, struct pcg_call *call, const char *id, char *name, size_t size, struct vs_err *err)
{
	json_t *category;
	int r;

	if (kept_get(v, "category", id, name, size))
		return 0;
	r = ask(v, call, "GET", "cis/tagging/category", id, NULL, NULL, &category, err);
	if (r)
		return r;
	snprintf(name, size, "%s", vs_str(category, "name"));
	kept_put(v, "category", id, name);
	json_decref(category);
	return 0;
}

int tag_of(struct vsphere *v, struct pcg_call *call, const struct vs_ref *object, const char *category, char *name, size_t size,
	   struct vs_err *err)
{
	json_t *body = json_pack("{s:{s:s, s:s}}", "object_id", "id", object->value, "type", object->type), *ids = NULL, *one, *tag;
	size_t i;
	int r = ask(v, call, "POST", "cis/tagging/tag-association", NULL, "list-attached-tags", body, &ids, err);

	*name = 0;
	json_array_foreach(ids, i, one) {
		char of[256];

		if (r || *name)
			break;
		r = ask(v, call, "GET", "cis/tagging/tag", json_string_value(one), NULL, NULL, &tag, err);
		if (r)
			break;
		r = category_name(v, call, vs_str(tag, "category_id"), of, sizeof(of), err);
		if (!r && strcmp(of, category) == 0)
			snprintf(name, size, "%s", vs_str(tag, "name"));
		vs_utf8(name);
		json_decref(tag);
	}
	json_decref(ids);
	json_decref(body);
	return r;
}

/* 7.0 answers {"success", "error_messages"}; so does 8.0. A tag that is attached already is no error. */
static int attached(const json_t *reply, struct vs_err *err)
{
	const json_t *first = json_array_get(json_object_get(reply, "error_messages"), 0);

	if (!json_is_false(json_object_get(reply, "success")))
		return 0;
	vs_fail(err, PCG_ERR_PERMANENT, "Check that the tags' categories allow virtual machines, and the privilege InventoryService.Tagging."
		"AttachTag.", "vCenter has not attached the tags: %s", *vs_str(first, "default_message") ?
		vs_str(first, "default_message") : "it does not say why");
	return -1;
}

static int attach_once(struct vsphere *v, struct pcg_call *call, const struct vs_ref *vm, const json_t *tags, struct vs_err *err)
{
	json_t *problems = json_array(), *ids = json_array(), *body, *reply = NULL;
	int r = tags_resolve(v, call, tags, ids, problems, err);

	if (!r && json_array_size(problems)) {
		vs_fail(err, PCG_ERR_NOT_FOUND, vs_str(json_array_get(problems, 0), "remedy"), "%s",
			vs_str(json_array_get(problems, 0), "text"));
		r = -1;
	}
	json_decref(problems);
	body = json_pack("{s:{s:s, s:s}, s:o}", "object_id", "id", vm->value, "type", vm->type, "tag_ids", ids);
	if (!r)
		r = ask(v, call, "POST", "cis/tagging/tag-association", NULL, "attach-multiple-tags-to-object", body, &reply, err);
	if (!r)
		r = attached(reply, err);
	json_decref(reply);
	json_decref(body);
	return r;
}

/* A tag that somebody made anew under its name has another id. */
int tags_attach(struct vsphere *v, struct pcg_call *call, const struct vs_ref *vm, const json_t *tags, struct vs_err *err)
{
	int r = attach_once(v, call, vm, tags, err);

	if (!r || err->class == PCG_ERR_AUTH || err->class == PCG_ERR_CANCELLED)
		return r;
	kept_forget(v);
	return attach_once(v, call, vm, tags, err);
}
