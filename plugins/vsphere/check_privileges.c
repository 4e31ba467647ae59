/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "plugins/vsphere/check.h"

#include <string.h>

/*
 * What the role lacks: AuthorizationManager.HasPrivilegeOnEntities of this session on all objects at once (vSphere Web
 * Services API, since 5.5; the same in 7 and 8). It refuses the whole call for one id that it does not know, so here stand ids that
 * 6.7 has already. Names are those of the privilege ids in "Defined Privileges" of the vSphere Security documentation;
 * which are needed is what this provider calls, and, for the controllers that go on after a hand-over, what the
 * Cluster API provider's and Palette's lists have for the same objects.
 */

static const struct privilege {
	const char *id;
	enum check_kind on;
	unsigned uses;     /* any of these; 0: always */
	bool template;     /* only on a template; else, for CHECK_TEMPLATE, only on a machine */
	bool optional;     /* works without it, worse */
	const char *what;
} privileges[] = {
	{ "Folder.Create", CHECK_FOLDER, 0, false, false, "make the cluster's folder" },
	{ "Folder.Delete", CHECK_FOLDER, 0, false, false, "remove the cluster's folder" },
	{ "VirtualMachine.Inventory.CreateFromExisting", CHECK_FOLDER, 0, false, false, "clone machines" },
	{ "VirtualMachine.Inventory.Delete", CHECK_FOLDER, 0, false, false, "remove machines" },
	{ "VirtualMachine.Config.AddNewDisk", CHECK_FOLDER, 0, false, false, "make disks" },
	{ "VirtualMachine.Config.RemoveDisk", CHECK_FOLDER, 0, false, false, "detach volumes from machines that are removed" },
	{ "VirtualMachine.Config.AddRemoveDevice", CHECK_FOLDER, 0, false, false, "give machines their network devices" },
	{ "VirtualMachine.Config.EditDevice", CHECK_FOLDER, 0, false, false, "connect network devices" },
	{ "VirtualMachine.Config.AdvancedConfig", CHECK_FOLDER, 0, false, false, "hand over user data (guestinfo)" },
	{ "VirtualMachine.Config.CPUCount", CHECK_FOLDER, 0, false, false, "set the number of processors" },
	{ "VirtualMachine.Config.Memory", CHECK_FOLDER, 0, false, false, "set the memory" },
	{ "VirtualMachine.Config.DiskExtend", CHECK_FOLDER, 0, false, false, "grow disks" },
	{ "VirtualMachine.Config.Resource", CHECK_FOLDER, 0, false, false, "set reservations and limits" },
	{ "VirtualMachine.Config.Settings", CHECK_FOLDER, 0, false, false, "set options of machines" },
	{ "VirtualMachine.Config.Annotation", CHECK_FOLDER, 0, false, false, "write notes" },
	{ "VirtualMachine.Config.UpgradeVirtualHardware", CHECK_FOLDER, CHECK_UPGRADE, false, false, "upgrade the hardware version" },
	{ "VirtualMachine.Interact.PowerOn", CHECK_FOLDER, 0, false, false, "power machines on" },
	{ "VirtualMachine.Interact.PowerOff", CHECK_FOLDER, 0, false, false, "power machines off" },
	{ "VirtualMachine.Provisioning.DeployTemplate", CHECK_TEMPLATE, 0, true, false, "deploy the template" },
	{ "VirtualMachine.Provisioning.Clone", CHECK_TEMPLATE, 0, false, false, "clone the machine" },
	/* CloneVM_Task asks for it where the source is encrypted (since 6.5). */
	{ "Cryptographer.Clone", CHECK_TEMPLATE, CHECK_ENCRYPTED, true, false, "clone an encrypted template" },
	{ "Cryptographer.Clone", CHECK_TEMPLATE, CHECK_ENCRYPTED, false, false, "clone an encrypted machine" },
	{ "Resource.AssignVMToPool", CHECK_POOL, 0, false, false, "put machines into the resource pool" },
	{ "Datastore.AllocateSpace", CHECK_DATASTORE, 0, false, false, "put disks on the datastore" },
	{ "Network.Assign", CHECK_NETWORK, 0, false, false, "connect machines to the network" },
	{ "Host.Inventory.EditCluster", CHECK_CLUSTER, CHECK_RULES, false, false, "make the rule that keeps control planes apart" },
	{ "InventoryService.Tagging.AttachTag", CHECK_ROOT, CHECK_TAGS, false, false, "put tags on objects" },
	{ "InventoryService.Tagging.ObjectAttachable", CHECK_FOLDER, CHECK_TAGS, false, true, "put tags on machines (7.0 and newer)" },
	{ "StorageProfile.View", CHECK_ROOT, CHECK_POLICY, false, false, "see storage policies" },
	{ "Global.ManageCustomFields", CHECK_ROOT, CHECK_ATTRIBUTES, false, false, "make custom attributes" },
	{ "Global.SetCustomField", CHECK_FOLDER, CHECK_ATTRIBUTES, false, false, "set custom attributes" },
	{ "ContentLibrary.GetConfiguration", CHECK_ROOT, CHECK_LIBRARY, false, true, "read content libraries" },
	{ "Sessions.TerminateSession", CHECK_ROOT, 0, false, true, "end a session that a crash left behind" },
};

#define N_PRIVILEGES (sizeof(privileges) / sizeof(privileges[0]))

struct asking {
	const struct check_entity *e;
	size_t n;
	unsigned uses;
	bool template;  /* what is cloned is a template */
	bool known;     /* the optional ones that an older vCenter does not know are asked too */
};

static bool concerns(const struct asking *a, const struct privilege *p, enum check_kind kind)
{
	if (p->on != kind || (p->uses && !(p->uses & a->uses)))
		return false;
	if (!a->known && strcmp(p->id, "InventoryService.Tagging.ObjectAttachable") == 0)
		return false;
	return kind != CHECK_TEMPLATE || p->template == a->template;
}

static bool concerns_any(const struct asking *a, const struct privilege *p)
{
	for (size_t i = 0; i < a->n; i++)
		if (concerns(a, p, a->e[i].kind))
			return true;
	return false;
}

static int ask_once(struct vs_session *ss, struct pcg_call *call, const struct asking *a, struct xn **reply, struct vs_err *err)
{
	unsigned generation;
	struct soap s;

	if (vs_session_open(ss, call, &generation, err))
		return -1;
	soap_begin(&s, "HasPrivilegeOnEntities", &ss->authorization);
	for (size_t i = 0; i < a->n; i++)
		soap_ref(&s, "entity", &a->e[i].ref);
	soap_text(&s, "sessionId", ss->key);
	for (size_t i = 0; i < N_PRIVILEGES; i++)
		if (concerns_any(a, &privileges[i]))
			soap_text(&s, "privId", privileges[i].id);
	soap_finish(&s);
	return vs_call(ss, call, &s, VS_SESSION, generation, 0, reply, err);
}

/* The session's key is in the question: that of another session is another question. */
static int ask(struct vs_session *ss, struct pcg_call *call, const struct asking *a, struct xn **reply, struct vs_err *err)
{
	int r = ask_once(ss, call, a, reply, err);

	return r && strcmp(err->fault, "NotAuthenticated") == 0 ? ask_once(ss, call, a, reply, err) : r;
}

/* The answer for one privilege on one object; what is not answered is not granted. */
static bool granted(const struct xn *result, const struct vs_ref *ref, const char *id)
{
	for (const struct xn *e = xn_child(result, "returnval"); e; e = xn_next(e, "returnval")) {
		if (strcmp(xn_get(e, "entity"), ref->value) != 0)
			continue;
		for (const struct xn *p = xn_child(e, "privAvailability"); p; p = xn_next(p, "privAvailability"))
			if (strcmp(xn_get(p, "privId"), id) == 0)
				return strcmp(xn_get(p, "isGranted"), "true") == 0;
	}
	return false;
}

static void tell(const struct asking *a, const struct xn *result, const struct check_entity *e, json_t *problems, json_t *warnings)
{
	for (size_t i = 0; i < N_PRIVILEGES; i++) {
		const struct privilege *p = &privileges[i];

		if (!concerns(a, p, e->kind) || granted(result, &e->ref, p->id))
			continue;
		if (!p->optional)
			vs_problem(problems, e->field, "Give the account's role that privilege on the object, and on what is below it.",
				   "the user lacks the privilege %s on %s, to %s", p->id, e->path, p->what);
		else
			check_warn(warnings, "the user lacks the privilege %s on %s, to %s", p->id, e->path, p->what);
	}
}

static bool is_template(const struct check_entity *e, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (e[i].kind == CHECK_TEMPLATE)
			return !e[i].plain_machine;
	return true;
}

int check_privileges(struct vs_session *ss, struct pcg_call *call, const struct check_entity *e, size_t n, unsigned uses,
		     json_t *problems, json_t *warnings, struct vs_err *err)
{
	struct asking a = { .e = e, .n = n, .uses = uses, .template = is_template(e, n), .known = true };
	struct xn *reply = NULL;
	int r;

	if (!n)
		return 0;
	if (!*ss->key) { /* a session that a gateway of before left, or a login that was answered without: the calls will tell */
		check_warn(warnings, "not checked: privileges, for the vCenter did not say which session this is");
		return 0;
	}
	r = ask(ss, call, &a, &reply, err);
	if (r && strcmp(err->fault, "InvalidArgument") == 0) {
		a.known = false;
		r = ask(ss, call, &a, &reply, err);
	}
	for (size_t i = 0; !r && i < n; i++)
		tell(&a, vs_result(reply), &e[i], problems, warnings);
	xn_free(reply);
	return r;
}
