/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "plugins/vsphere/check.h"
#include "plugins/vsphere/session_impl.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* account_validate: a login of its own with the account that is asked about, and everything that can be known without a cluster. */

struct validation {
	struct vsphere *v;
	struct pcg_call *call;
	const json_t *spec;
	struct vs_session ss;
	json_t *problems, *warnings;
	struct vs_err err;
};

static void find_template(struct validation *x, const char *path, struct vs_ref *ref)
{
	struct xn *reply;
	struct soap s;
	bool r;

	memset(ref, 0, sizeof(*ref));
	soap_begin(&s, "FindByInventoryPath", &x->ss.search);
	soap_text(&s, "inventoryPath", path);
	soap_finish(&s);
	r = vs_call(&x->ss, x->call, &s, 0, 0, 0, &reply, &x->err) ||
	    vs_returned(reply, "FindByInventoryPath", false, ref, &x->err);
	xn_free(reply);
	if (r) {
		vs_problem(x->problems, "imageTemplate", x->err.remedy, "%s", x->err.text);
		return;
	}
	if (!ref->value[0])
		vs_problem(x->problems, "imageTemplate", "Import the image as a template there, or give the path of one; the user must "
			   "see it.", "there is no template %s", path);
	else if (strcmp(ref->type, "VirtualMachine") != 0)
		vs_problem(x->problems, "imageTemplate", "Give the path of a template.", "%s is no template but a %s", path, ref->type);
	if (strcmp(ref->type, "VirtualMachine") != 0)
		memset(ref, 0, sizeof(*ref));
}

/* An answer that did not come is no problem of the account, but it was not checked either. */
static void unchecked(struct validation *x, int r)
{
	if (r)
		check_warn(x->warnings, "not checked: %s", x->err.text);
}

static void check_account(struct validation *x)
{
	const json_t *settings = json_object_get(x->spec, "settings");
	const char *template = vs_str(x->spec, "imageTemplate");
	unsigned uses = strcmp(vs_str(settings, "cloneMode"), "linkedClone") == 0 ? CHECK_LINKED | CHECK_SNAPSHOT : 0;
	struct check_entity e[2] = { { .kind = CHECK_ROOT, .ref = x->ss.root, .path = "the vCenter", .field = "username" },
				     { .kind = CHECK_TEMPLATE, .path = template, .field = "imageTemplate" } };
	size_t n = 1;

	check_release(x->ss.release, x->ss.version, x->problems, x->warnings);
	unchecked(x, check_clock(&x->ss, x->call, x->problems, x->warnings, &x->err));
	/* Not a whole path: it is looked up in the datacenter of each cluster. */
	if (*template == '/')
		find_template(x, template, &e[1].ref);
	if (e[1].ref.value[0])
		n = 2;
	unchecked(x, check_objects(&x->ss, x->call, e, n, &uses, NULL, x->problems, x->warnings, &x->err));
	unchecked(x, check_privileges(&x->ss, x->call, e, n, uses, x->problems, x->warnings, &x->err));
}

static void say_unverified(struct validation *x)
{
	if (json_is_true(json_object_get(x->spec, "insecure")) && !*vs_str(x->spec, "caCert") && !*vs_str(x->spec, "thumbprint"))
		check_warn(x->warnings, "insecure: the vCenter's certificate is not verified");
}

/* The problems of a login stand at what is to be corrected. */
static const char *login_field(const struct vs_err *err)
{
	if (strcmp(err->fault, "InvalidLogin") == 0 || strcmp(err->fault, "PasswordExpired") == 0 ||
	    strcmp(err->fault, VS_LOGINS_BOUNDED) == 0)
		return "password";
	return err->class == PCG_ERR_AUTH ? "username" : "vcenterServer";
}

static void validate(struct validation *x)
{
	bool can_log_in = check_spec(x->spec, x->problems, x->warnings);
	unsigned generation;

	if (vs_session_init(&x->ss, x->v->svc, x->v->host, x->spec, false, &x->err)) {
		vs_problem(x->problems, "vcenterServer", x->err.remedy, "%s", x->err.text);
	} else if (can_log_in) {
		if (vs_session_open(&x->ss, x->call, &generation, &x->err))
			vs_problem(x->problems, login_field(&x->err), x->err.remedy, "%s", x->err.text);
		else
			check_account(x);
		vs_session_close(&x->ss, x->call);
	}
	say_unverified(x);
}

void vs_account_validate(void *plugin, struct pcg_call *call, const char *text)
{
	struct vsphere *v = plugin;
	json_t *doc = json_loads(text ? text : "", 0, NULL);
	struct validation x = { .v = v, .call = call, .spec = json_object_get(doc, "account"), .problems = json_array(),
				.warnings = json_array() };

	if (!doc) {
		v->svc->error(call, PCG_ERR_BUG, "the op's document is no JSON object", "");
	} else {
		validate(&x);
		if (json_array_size(x.problems))
			vs_done(v, call, json_pack("{s:O, s:O}", "problems", x.problems, "warnings", x.warnings));
		else
			vs_done(v, call, json_pack("{s:s, s:O}", "version", x.ss.version, "warnings", x.warnings));
		vs_session_fini(&x.ss);
	}
	json_decref(x.problems);
	json_decref(x.warnings);
	json_decref(doc);
}
