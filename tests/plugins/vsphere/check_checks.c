/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "plugins/vsphere/check.h"
#include "plugins/vsphere/fault.h"

#include "core/attr.h"

#include <check.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/*
 * What govmomi's simulator does not show: privileges that a role lacks, clocks, versions, objects that do not do. A front of our own
 * answers as the Web Services API's documentation says, and refuses what a vCenter refuses: a session's key that is
 * none, a privilege or a property that there is not, an object that there is not.
 */

static const struct vs_ref root = { "Folder", "group-d1" }, folder = { "Folder", "group-v3" }, tmpl = { "VirtualMachine", "vm-1" },
			   pool = { "ResourcePool", "resgroup-8" }, store = { "Datastore", "datastore-10" },
			   net = { "DistributedVirtualPortgroup", "dvportgroup-7" }, cluster = { "ClusterComputeResource", "domain-c8" },
			   pod = { "StoragePod", "group-p9" };

/* The privileges that 6.7 has, of those that are asked about, and what only newer ones have. */
static const char *const known_privileges[] = {
	"Folder.Create", "Folder.Delete", "VirtualMachine.Inventory.CreateFromExisting", "VirtualMachine.Inventory.Delete",
	"VirtualMachine.Config.AddNewDisk", "VirtualMachine.Config.RemoveDisk", "VirtualMachine.Config.AddRemoveDevice", "VirtualMachine.Config.EditDevice",
	"VirtualMachine.Config.AdvancedConfig", "VirtualMachine.Config.CPUCount", "VirtualMachine.Config.Memory",
	"VirtualMachine.Config.DiskExtend", "VirtualMachine.Config.Resource", "VirtualMachine.Config.Settings",
	"VirtualMachine.Config.Annotation", "VirtualMachine.Config.UpgradeVirtualHardware", "VirtualMachine.Interact.PowerOn",
	"VirtualMachine.Interact.PowerOff", "VirtualMachine.Provisioning.DeployTemplate", "VirtualMachine.Provisioning.Clone", "Cryptographer.Clone",
	"Resource.AssignVMToPool", "Datastore.AllocateSpace", "Network.Assign", "Host.Inventory.EditCluster",
	"InventoryService.Tagging.AttachTag", "StorageProfile.View", "Global.ManageCustomFields", "Global.SetCustomField",
	"ContentLibrary.GetConfiguration", "Sessions.TerminateSession",
};

static struct {
	bool old;                 /* 6.7: has no ObjectAttachable */
	const char *denied;       /* "PRIVILEGE OBJECT PRIVILEGE OBJECT ..." */
	int64_t skew_ms;
	const char *clock;        /* in place of the time; NULL: the time */
	int asked;
	/* properties of the objects; NULL: as they should be */
	const char *of_template, *of_store, *of_net, *of_cluster;
	bool nameless;            /* a login does not say which session it began */
	bool expires;             /* once, before privileges are asked */
	int logins;
	const char *version;      /* of the vCenter; NULL: 8.0.3 */
	const char *of_members[4]; /* of the datastore cluster: datastore-20, -21, .. */
} end;

static char *text_of(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
static char *text_of(const char *fmt, ...)
{
	va_list ap;
	char *text;

	va_start(ap, fmt);
	ck_assert_int_ge(vasprintf(&text, fmt, ap), 0);
	va_end(ap);
	return text;
}

static char *fault(const char *type)
{
	return text_of("<Fault><faultcode>ServerFaultCode</faultcode><faultstring/><detail><%sFault xmlns=\"urn:vim25\" "
		       "xmlns:xsi=\"http://www.w3.org/2001/XMLSchema-instance\" xsi:type=\"%s\"/></detail></Fault>", type, type);
}

static bool privilege_known(const char *id)
{
	for (size_t i = 0; i < ARRAY_LEN(known_privileges); i++)
		if (strcmp(known_privileges[i], id) == 0)
			return true;
	return !end.old && strcmp(id, "InventoryService.Tagging.ObjectAttachable") == 0;
}

static bool object_known(const char *id)
{
	const struct vs_ref *all[] = { &root, &folder, &tmpl, &pool, &store, &net, &cluster, &pod };

	for (size_t i = 0; i < ARRAY_LEN(all); i++)
		if (strcmp(all[i]->value, id) == 0)
			return true;
	return false;
}

static bool denied(const char *id, const char *object)
{
	AUTO_FREE char *pair = text_of("%s %s", id, object);

	return end.denied && strstr(end.denied, pair);
}

/* The fault that a vCenter answers with; NULL: none. */
static const char *privileges_wrong(const struct xn *asked)
{
	char key[32];

	snprintf(key, sizeof(key), "session-%d", end.logins);
	if (end.expires) {
		end.expires = false;
		return "NotAuthenticated";
	}
	if (strcmp(xn_get(asked, "sessionId"), key) != 0)
		return "InvalidArgument";
	for (const struct xn *e = xn_child(asked, "entity"); e; e = xn_next(e, "entity"))
		if (!object_known(xn_text(e)))
			return "ManagedObjectNotFound";
	for (const struct xn *p = xn_child(asked, "privId"); p; p = xn_next(p, "privId"))
		if (!privilege_known(xn_text(p)))
			return "InvalidArgument";
	return NULL;
}

static char *privileges_end(const struct xn *asked)
{
	const char *wrong = privileges_wrong(asked);
	char *out = NULL;
	size_t size;
	FILE *f;

	end.asked++;
	if (wrong)
		return fault(wrong);
	f = open_memstream(&out, &size);
	ck_assert_ptr_nonnull(f);
	fputs("<HasPrivilegeOnEntitiesResponse xmlns=\"urn:vim25\">", f);
	for (const struct xn *e = xn_child(asked, "entity"); e; e = xn_next(e, "entity")) {
		fprintf(f, "<returnval><entity type=\"%s\">%s</entity>", e->type, xn_text(e));
		for (const struct xn *p = xn_child(asked, "privId"); p; p = xn_next(p, "privId"))
			fprintf(f, "<privAvailability><privId>%s</privId><isGranted>%s</isGranted></privAvailability>", xn_text(p),
				denied(xn_text(p), xn_text(e)) ? "false" : "true");
		fputs("</returnval>", f);
	}
	fputs("</HasPrivilegeOnEntitiesResponse>", f);
	fclose(f);
	return out;
}

/* Which properties a type has: asked for another one, a vCenter refuses the whole call. */
static const struct { const char *type, *props; } has[] = {
	{ "VirtualMachine", " config.template config.version config.guestId config.keyId snapshot.currentSnapshot " },
	{ "Datastore", " summary.accessible summary.maintenanceMode summary.freeSpace parent " }, { "Network", " tag summary.accessible " },
	{ "ComputeResource", " name host datastore network " }, { "ClusterComputeResource", " configurationEx " },
	{ "ResourcePool", " owner " },
};

static bool has_property(const char *type, const char *path)
{
	AUTO_FREE char *word = text_of(" %s ", path);

	for (size_t i = 0; i < ARRAY_LEN(has); i++)
		if (strcmp(has[i].type, type) == 0)
			return strstr(has[i].props, word) != NULL;
	return false;
}

static const char good_template[] = "config.template=true config.version=vmx-19 config.guestId=ubuntu64Guest";
static const char good_store[] = "summary.accessible=true summary.maintenanceMode=normal summary.freeSpace=1099511627776";
static const char good_net[] = "summary.accessible=true";
static const char good_cluster[] = "name=C1 host=host-1 datastore=datastore-10 network=dvportgroup-7 drs=true";

static void put_list(FILE *f, const char *name, char *values)
{
	char *save, *one;

	fprintf(f, "<propSet><name>%s</name><val>", name);
	for (one = strtok_r(values, ",", &save); one; one = strtok_r(NULL, ",", &save))
		fprintf(f, "<ManagedObjectReference>%s</ManagedObjectReference>", one);
	fputs("</val></propSet>", f);
}

/* "name=value ..." as properties. */
static void put_object(FILE *f, const struct vs_ref *ref, const char *given, const char *good)
{
	AUTO_FREE char *text = strdup(given ? given : good);
	char *save, *word;

	fprintf(f, "<objects><obj type=\"%s\">%s</obj>", ref->type, ref->value);
	for (word = strtok_r(text, " ", &save); word; word = strtok_r(NULL, " ", &save)) {
		char *value = strchr(word, '=');

		*value++ = 0;
		if (strcmp(word, "drs") == 0)
			fprintf(f, "<propSet><name>configurationEx</name><val><drsConfig><enabled>%s</enabled></drsConfig></val></propSet>",
				value);
		else if (strcmp(word, "tag") == 0)
			fprintf(f, "<propSet><name>tag</name><val><Tag><key>%s</key></Tag></val></propSet>", value);
		else if (strcmp(word, "host") == 0 || strcmp(word, "datastore") == 0 || strcmp(word, "network") == 0)
			put_list(f, word, value);
		else
			fprintf(f, "<propSet><name>%s</name><val>%s</val></propSet>", word, value);
	}
	fputs("</objects>", f);
}

/* What the way from the datastore cluster to its members leads to. */
static void put_members(FILE *f, const struct xn *asked)
{
	const struct xn *way = xn_child(asked, "selectSet");

	ck_assert_str_eq(xn_get(way, "type"), "StoragePod");
	ck_assert_str_eq(xn_get(way, "path"), "childEntity");
	ck_assert_str_eq(xn_get(asked, "skip"), "true");
	for (size_t i = 0; i < ARRAY_LEN(end.of_members) && end.of_members[i]; i++) {
		struct vs_ref ref = { "Datastore", "" };

		snprintf(ref.value, sizeof(ref.value), "datastore-2%zu", i);
		put_object(f, &ref, end.of_members[i], NULL);
	}
}

static bool has_properties(const struct xn *spec)
{
	for (const struct xn *p = xn_child(spec, "propSet"); p; p = xn_next(p, "propSet"))
		for (const struct xn *path = xn_child(p, "pathSet"); path; path = xn_next(path, "pathSet"))
			if (!has_property(xn_get(p, "type"), xn_text(path)))
				return false;
	return true;
}

static char *properties_end(const struct xn *asked)
{
	const struct xn *spec = xn_child(asked, "specSet");
	char *out = NULL;
	bool gone = false;
	size_t size;
	FILE *f;

	end.asked++;
	if (!has_properties(spec))
		return fault("InvalidProperty");
	f = open_memstream(&out, &size);
	fputs("<RetrievePropertiesExResponse xmlns=\"urn:vim25\"><returnval>", f);
	for (const struct xn *o = xn_child(spec, "objectSet"); o; o = xn_next(o, "objectSet")) {
		const char *id = xn_get(o, "obj");

		if (strcmp(id, tmpl.value) == 0)
			put_object(f, &tmpl, end.of_template, good_template);
		else if (strcmp(id, store.value) == 0)
			put_object(f, &store, end.of_store, good_store);
		else if (strcmp(id, net.value) == 0)
			put_object(f, &net, end.of_net, good_net);
		else if (strcmp(id, pool.value) == 0)
			put_object(f, &cluster, end.of_cluster, good_cluster);
		else if (strcmp(id, pod.value) == 0)
			put_members(f, o);
		else
			gone = true;
	}
	fputs("</returnval></RetrievePropertiesExResponse>", f);
	fclose(f);
	if (!gone)
		return out;
	free(out);
	return fault("ManagedObjectNotFound");
}

static char *time_end(void)
{
	int64_t ms = 1700000000000 + end.skew_ms;
	time_t s = (time_t)(ms / 1000);
	struct tm tm;
	char at[32];

	gmtime_r(&s, &tm);
	strftime(at, sizeof(at), "%Y-%m-%dT%H:%M:%S", &tm);
	return text_of("<CurrentTimeResponse xmlns=\"urn:vim25\"><returnval>%s%s</returnval></CurrentTimeResponse>",
		       end.clock ? end.clock : at, end.clock ? "" : ".25Z");
}

static char *answer(const char *method, const struct xn *asked)
{
	if (strcmp(method, "RetrieveServiceContent") == 0)
		return text_of("<RetrieveServiceContentResponse xmlns=\"urn:vim25\"><returnval><rootFolder type=\"Folder\">group-d1</rootFolder>"
			       "<propertyCollector type=\"PropertyCollector\">pc</propertyCollector><viewManager type=\"ViewManager\">vm</viewManager>"
			       "<about><fullName>VMware vCenter Server</fullName><version>%s</version><apiType>VirtualCenter</apiType></about>"
			       "<sessionManager type=\"SessionManager\">sm</sessionManager><taskManager type=\"TaskManager\">tm</taskManager>"
			       "<searchIndex type=\"SearchIndex\">si</searchIndex></returnval></RetrieveServiceContentResponse>",
			       end.version ? end.version : "8.0.3");
	if (strcmp(method, "Login") == 0)
		return text_of("<LoginResponse xmlns=\"urn:vim25\"><returnval>%s%s%d%s</returnval></LoginResponse>",
			       end.nameless ? "<!--" : "", "<key>session-", ++end.logins, end.nameless ? "</key>-->" : "</key>");
	if (strcmp(method, "HasPrivilegeOnEntities") == 0)
		return privileges_end(asked);
	if (strcmp(method, "RetrievePropertiesEx") == 0)
		return properties_end(asked);
	if (strcmp(method, "CurrentTime") == 0)
		return time_end();
	if (strcmp(method, "FindByInventoryPath") == 0)
		return strdup("<FindByInventoryPathResponse xmlns=\"urn:vim25\"><returnval type=\"VirtualMachine\">vm-1</returnval>"
			      "</FindByInventoryPathResponse>");
	if (strcmp(method, "Logout") == 0)
		return strdup("<LogoutResponse xmlns=\"urn:vim25\"/>");
	return fault("NotSupported");
}

static int32_t fake_http(struct pcg_host *h, struct pcg_call *call, const struct pcg_http_request *req,
			 struct pcg_http_response *resp)
{
	static const struct pcg_http_header cookie[] = { { "set-cookie", "vmware_soap_session=s; Path=/" } };
	AUTO_FREE char *body = NULL;
	struct vs_err err;
	struct xn *n;

	ck_assert_msg(xn_parse(req->body, req->body_len, &n, &err) == 0, "%s", err.text);
	body = answer(vs_result(n)->name, vs_result(n));
	xn_free(n);
	resp->body = text_of("<Envelope xmlns=\"http://schemas.xmlsoap.org/soap/envelope/\"><Body>%s</Body></Envelope>", body);
	resp->body_len = strlen(resp->body);
	resp->status = strncmp(body, "<Fault", 6) == 0 ? 500 : 200;
	resp->headers = cookie;
	resp->n_headers = 1;
	return 0;
}

static void fake_free(struct pcg_host *h, struct pcg_http_response *resp)
{
	free((void *)(uintptr_t)resp->body);
}

static uint64_t fake_remaining(struct pcg_call *call)
{
	return 10000;
}

static int32_t fake_put(struct pcg_host *h, const char *name, const char *value)
{
	return 0;
}

static const char *fake_get(struct pcg_host *h, const char *name)
{
	return NULL;
}

static uint64_t fake_now(struct pcg_host *h)
{
	return 1000;
}

static int64_t fake_wall(struct pcg_host *h)
{
	return 1700000000000;
}

static void fake_fault(struct pcg_host *h, const char *name)
{
}

static const struct pcg_services services = {
	.struct_size = sizeof(services), .http = fake_http, .http_free = fake_free, .remaining_ms = fake_remaining,
	.secret_put = fake_put, .secret_get = fake_get, .mono_ms = fake_now, .wall_ms = fake_wall, .fault_point = fake_fault,
};

static struct vs_session ss;
static json_t *problems, *warnings, *validated;

static void setup(void)
{
	AUTO_JSON json_t *spec = json_pack("{s:s, s:s, s:s}", "vcenterServer", "vc", "username", "u", "password", "p");
	struct vs_err err;
	unsigned generation;

	memset(&end, 0, sizeof(end));
	validated = NULL;
	problems = json_array();
	warnings = json_array();
	ck_assert_int_eq(vs_session_init(&ss, &services, NULL, spec, true, &err), 0);
	ck_assert_msg(vs_session_open(&ss, NULL, &generation, &err) == 0, "%s", err.text);
}

static void teardown(void)
{
	vs_session_fini(&ss);
	json_decref(problems);
	json_decref(warnings);
}

/* vsphere.c has this of the plugin; here is only what is checked. */
void vs_problem(json_t *list, const char *field, const char *remedy, const char *fmt, ...)
{
	va_list ap;
	char *text;

	va_start(ap, fmt);
	ck_assert_int_ge(vasprintf(&text, fmt, ap), 0);
	va_end(ap);
	ck_assert_str_ne(remedy, "");
	ck_assert_str_ne(field, "");
	json_array_append_new(list, json_pack("{s:s, s:s, s:s}", "field", field, "text", text, "remedy", remedy));
	free(text);
}

const char *vs_str(const json_t *j, const char *key)
{
	return json_string_value(json_object_get(j, key)) ?: "";
}

void vs_done(struct vsphere *v, struct pcg_call *call, json_t *doc)
{
	ck_assert_ptr_null(validated);
	validated = doc;
}

static const struct check_entity place[] = {
	{ .kind = CHECK_ROOT, .ref = root, .path = "the vCenter", .field = "cloudAccountUid" },
	{ .kind = CHECK_FOLDER, .ref = folder, .path = "/DC/vm", .field = "folder" },
	{ .kind = CHECK_TEMPLATE, .ref = tmpl, .path = "/DC/vm/t", .field = "image.template" },
	{ .kind = CHECK_POOL, .ref = pool, .path = "/DC/host/C1/Resources", .field = "pool" },
	{ .kind = CHECK_DATASTORE, .ref = store, .path = "/DC/datastore/ds", .field = "datastore" },
	{ .kind = CHECK_NETWORK, .ref = net, .path = "/DC/network/n", .field = "network" },
};

static void told(const json_t *list, size_t n, const char *first)
{
	AUTO_FREE char *text = json_dumps(list, JSON_INDENT(1));
	const json_t *one = json_array_get(list, 0);

	ck_assert_msg(json_array_size(list) == n && (!first || strstr(json_is_string(one) ? json_string_value(one) :
						      json_string_value(json_object_get(one, "text")), first)), "%s", text);
}

static const struct { const char *release; size_t problems, warnings; const char *said; } releases[] = {
	{ "8.0.3", 0, 0, NULL }, { "8.0.0", 0, 0, NULL }, { "7.0.3", 0, 0, NULL }, { "6.7.0", 0, 1, "from 6.7 U3 on" },
	{ "6.5.0", 1, 0, "too old" }, { "5.5.0", 1, 0, "too old" }, { "9.0.0", 0, 1, "newer than" }, { "", 0, 1, "not known" },
};

START_TEST(says_which_versions_it_does_for)
{
	check_release(releases[_i].release, "vCenter X", problems, warnings);
	told(problems, releases[_i].problems, releases[_i].problems ? releases[_i].said : NULL);
	told(warnings, releases[_i].warnings, releases[_i].warnings ? releases[_i].said : NULL);
}
END_TEST

static const struct { int64_t skew_ms; const char *clock; size_t problems, warnings; const char *said; } clocks[] = {
	{ 0, NULL, 0, 0, NULL }, { 59000, NULL, 0, 0, NULL }, { -59000, NULL, 0, 0, NULL }, { 61000, NULL, 0, 1, "61 s ahead" },
	{ -120000, NULL, 0, 1, "119 s behind" }, { 400000, NULL, 1, 0, "400 s ahead" }, { -86400000, NULL, 1, 0, "86399 s behind" },
	{ 0, "2023-11-15T00:13:20.5+02:00", 0, 0, NULL }, { 0, "2023-11-14T23:13:20Z", 1, 0, "3600 s ahead" },
	{ 0, "soon", 0, 1, "was not told" },
};

START_TEST(compares_clocks)
{
	struct vs_err err;

	end.skew_ms = clocks[_i].skew_ms;
	end.clock = clocks[_i].clock;
	ck_assert_int_eq(check_clock(&ss, NULL, problems, warnings, &err), 0);
	told(problems, clocks[_i].problems, clocks[_i].problems ? clocks[_i].said : NULL);
	told(warnings, clocks[_i].warnings, clocks[_i].warnings ? clocks[_i].said : NULL);
}
END_TEST

static const struct { const char *denied; unsigned uses; bool old; size_t problems, warnings; const char *said; } roles[] = {
	{ NULL, 0, false, 0, 0, NULL },
	{ NULL, ~0u, false, 0, 0, NULL },
	{ NULL, ~0u, true, 0, 0, NULL },
	{ "Folder.Create group-v3", 0, false, 1, 0, "lacks the privilege Folder.Create on /DC/vm, to make the cluster's folder" },
	{ "Folder.Create group-d1", 0, false, 0, 0, NULL }, /* not needed there */
	{ "VirtualMachine.Config.RemoveDisk group-v3", 0, false, 1, 0, "to detach volumes" },
	{ "Network.Assign dvportgroup-7", 0, false, 1, 0, "Network.Assign on /DC/network/n" },
	{ "Datastore.AllocateSpace datastore-10 Resource.AssignVMToPool resgroup-8", 0, false, 2, 0, "Resource.AssignVMToPool" },
	{ "VirtualMachine.Provisioning.DeployTemplate vm-1", 0, false, 1, 0, "to deploy the template" },
	{ "VirtualMachine.Provisioning.Clone vm-1", 0, false, 0, 0, NULL }, /* it is a template */
	{ "Cryptographer.Clone vm-1", 0, false, 0, 0, NULL }, /* it is not encrypted */
	{ "Cryptographer.Clone vm-1", CHECK_ENCRYPTED, false, 1, 0, "Cryptographer.Clone on /DC/vm/t, to clone an encrypted template" },
	{ "Sessions.TerminateSession group-d1", 0, false, 0, 1, "Sessions.TerminateSession on the vCenter" },
	{ "InventoryService.Tagging.AttachTag group-d1", 0, false, 0, 0, NULL }, /* no tags are used */
	{ "InventoryService.Tagging.AttachTag group-d1", CHECK_TAGS, false, 1, 0, "AttachTag on the vCenter" },
	{ "InventoryService.Tagging.AttachTag group-d1", CHECK_TAGS, true, 1, 0, "AttachTag on the vCenter" },
	{ "StorageProfile.View group-d1", 0, false, 0, 0, NULL },
	{ "StorageProfile.View group-d1", CHECK_POLICY, false, 1, 0, "to see storage policies" },
	{ "ContentLibrary.GetConfiguration group-d1", CHECK_LIBRARY, false, 0, 1, "content libraries" },
	{ "Global.SetCustomField group-v3 Global.ManageCustomFields group-d1", CHECK_ATTRIBUTES, false, 2, 0, "ManageCustomFields" },
	{ "VirtualMachine.Config.UpgradeVirtualHardware group-v3", CHECK_UPGRADE, false, 1, 0, "upgrade the hardware" },
};

START_TEST(names_what_the_role_lacks_on_which_object)
{
	struct vs_err err;

	end.denied = roles[_i].denied;
	end.old = roles[_i].old;
	ck_assert_msg(check_privileges(&ss, NULL, place, ARRAY_LEN(place), roles[_i].uses, problems, warnings, &err) == 0, "%s",
		      err.text);
	told(problems, roles[_i].problems, roles[_i].problems ? roles[_i].said : NULL);
	told(warnings, roles[_i].warnings, roles[_i].warnings ? roles[_i].said : NULL);
	ck_assert_int_eq(end.asked, roles[_i].old && roles[_i].uses & CHECK_TAGS ? 2 : 1);
}
END_TEST

/* A role without anything: every privilege is named, once for each object that needs it. */
START_TEST(names_all_at_once)
{
	struct check_entity all[ARRAY_LEN(place)];
	char *denied_all = NULL;
	size_t size;
	FILE *f = open_memstream(&denied_all, &size);
	struct vs_err err;

	for (size_t i = 0; i < ARRAY_LEN(known_privileges); i++)
		for (size_t k = 0; k < ARRAY_LEN(place); k++)
			fprintf(f, "%s %s ", known_privileges[i], place[k].ref.value);
	fclose(f);
	end.denied = denied_all;
	memcpy(all, place, sizeof(all));
	all[2].plain_machine = true;
	ck_assert_int_eq(check_privileges(&ss, NULL, all, ARRAY_LEN(all), 0, problems, warnings, &err), 0);
	told(problems, 21, "Folder.Create");
	told(warnings, 1, "Sessions.TerminateSession");
	free(denied_all);
}
END_TEST

static const struct {
	const char *of_template, *of_store, *of_net, *of_cluster;
	unsigned uses;
	struct check_sizes sizes;
	size_t problems, warnings;
	const char *said;
} objects[] = {
	{ .uses = 0 },
	{ .of_template = "config.template=false config.version=vmx-19 config.guestId=ubuntu64Guest", .problems = 1,
	  .said = "is a machine, not a template" },
	{ .of_template = "config.version=vmx-19", .problems = 1, .said = "cannot be read" },
	{ .of_template = good_template, .uses = CHECK_SNAPSHOT, .problems = 1, .said = "has no snapshot, which a linked clone needs" },
	{ .of_template = "config.template=true config.version=vmx-19 config.guestId=ubuntu64Guest snapshot.currentSnapshot=snapshot-3",
	  .uses = CHECK_SNAPSHOT },
	{ .of_template = "config.template=true config.version=vmx-8 config.guestId=ubuntu64Guest", .problems = 1,
	  .said = "hardware version vmx-8; nodes need vmx-10" },
	{ .of_template = "config.template=true config.version=vmx-13 config.guestId=ubuntu64Guest", .warnings = 1, .said = "vmx-15" },
	{ .of_template = "config.template=true config.version=vmx-13 config.guestId=ubuntu64Guest", .uses = CHECK_UPGRADE },
	{ .of_template = "config.template=true config.version=vmx-19 config.guestId=windows2019srv_64Guest", .problems = 1,
	  .said = "nodes are Linux machines" },
	{ .of_template = "config.template=true config.version=vmx-19 config.guestId=debian10Guest", .warnings = 1,
	  .said = "not a 64-bit Linux" },
	{ .of_template = "config.template=true config.version=vmx-19 config.guestId=ubuntu64Guest config.keyId=k1" },
	{ .of_store = "summary.accessible=false summary.maintenanceMode=normal summary.freeSpace=1099511627776", .problems = 1,
	  .said = "is not accessible" },
	{ .of_store = "summary.accessible=true summary.maintenanceMode=enteringMaintenance summary.freeSpace=1099511627776",
	  .problems = 1, .said = "in maintenance mode" },
	{ .sizes = { .disk_gib = 1024, .machines = 8 } },
	{ .sizes = { .disk_gib = 1025, .machines = 8 }, .problems = 1, .said = "has 1024 GiB free, and the disks of 8 machines are 1025" },
	{ .sizes = { .disk_gib = 1025, .machines = 8 }, .uses = CHECK_LINKED, .warnings = 1, .said = "may come to take 1025 GiB" },
	{ .of_net = "summary.accessible=true tag=SYSTEM/DVS.UPLINKPG", .problems = 1, .said = "carries the uplinks" },
	{ .of_net = "summary.accessible=false", .problems = 1, .said = "on no host that is connected" },
	{ .of_cluster = "name=C1 host= datastore=datastore-10 network=dvportgroup-7 drs=true", .problems = 1, .said = "has no host" },
	{ .of_cluster = "name=C1 host=host-1 datastore=datastore-10 network=dvportgroup-7 drs=false", .warnings = 1,
	  .said = "C1 has no DRS: vCenter puts each machine on a random host" },
	{ .of_cluster = "name=C1 host=host-1 datastore=datastore-10 network=dvportgroup-7 drs=false", .uses = CHECK_RULES, .problems = 1,
	  .said = "has no DRS, which obeys the rule" },
	{ .of_cluster = "name=H1 host=host-1 datastore=datastore-10 network=dvportgroup-7", .uses = CHECK_RULES, .problems = 1,
	  .said = "H1 keeps no rule" },
	{ .of_cluster = "name=H1 host=host-1 datastore=datastore-10 network=dvportgroup-7" },
	{ .of_cluster = "name=C1 host=host-1 datastore=datastore-11 network=dvportgroup-7 drs=true", .problems = 1,
	  .said = "no host of compute cluster C1 reaches datastore /DC/datastore/ds" },
	{ .of_cluster = "name=C1 host=host-1 datastore=datastore-10 network=network-9 drs=true", .problems = 1,
	  .said = "no host of compute cluster C1 reaches network /DC/network/n" },
	/* All of it at once. */
	{ .of_template = "config.template=false config.version=vmx-8 config.guestId=winXPProGuest",
	  .of_store = "summary.accessible=false summary.freeSpace=0", .of_net = "summary.accessible=false",
	  .of_cluster = "name=C1 host= datastore=x network=x drs=false", .uses = CHECK_SNAPSHOT,
	  .sizes = { .disk_gib = 1, .machines = 1 }, .problems = 10, .warnings = 1, .said = "" },
};

START_TEST(judges_what_machines_would_be_made_of)
{
	unsigned uses = objects[_i].uses;
	struct vs_err err;

	end.of_template = objects[_i].of_template;
	end.of_store = objects[_i].of_store;
	end.of_net = objects[_i].of_net;
	end.of_cluster = objects[_i].of_cluster;
	ck_assert_msg(check_objects(&ss, NULL, place, ARRAY_LEN(place), &uses, &objects[_i].sizes, problems, warnings,
				    &err) == 0, "%s", err.text);
	told(problems, objects[_i].problems, objects[_i].problems ? objects[_i].said : NULL);
	told(warnings, objects[_i].warnings, objects[_i].warnings ? objects[_i].said : NULL);
	ck_assert_int_eq(end.asked, 1);
	ck_assert_uint_eq(uses, objects[_i].uses | (end.of_template && strstr(end.of_template, "keyId") ? CHECK_ENCRYPTED : 0));
}
END_TEST

/* Version, clock, privileges, template: one answer has it all. */
START_TEST(a_validation_answers_everything_at_once)
{
	static const char *const said[] = { "VMware vCenter Server is too old", "400 s ahead", "is a machine, not a template",
					    "has no snapshot", "nodes need vmx-10", "nodes are Linux machines",
					    "lacks the privilege VirtualMachine.Provisioning.DeployTemplate", "Cryptographer.Clone" };
	static const char *const warned[] = { "Sessions.TerminateSession", "not verified" };
	AUTO_JSON json_t *doc = json_pack("{s:{s:s, s:s, s:s, s:b, s:s, s:{s:s}}}", "account", "vcenterServer", "vc", "username", "u",
					  "password", "p", "insecure", 1, "imageTemplate", "/DC/vm/t", "settings", "cloneMode", "linkedClone");
	AUTO_FREE char *text = json_dumps(doc, 0);
	struct vsphere v = { .svc = &services };

	end.version = "6.5.0";
	end.skew_ms = 400000;
	end.denied = "VirtualMachine.Provisioning.DeployTemplate vm-1 Cryptographer.Clone vm-1 Sessions.TerminateSession group-d1";
	end.of_template = "config.template=false config.version=vmx-8 config.guestId=winXPProGuest config.keyId=k1";
	vs_account_validate(&v, NULL, text);
	AUTO_FREE char *answered = json_dumps(validated, JSON_INDENT(1));
	ck_assert_uint_eq(json_array_size(json_object_get(validated, "problems")), ARRAY_LEN(said));
	for (size_t i = 0; i < ARRAY_LEN(said); i++)
		ck_assert_msg(strstr(json_string_value(json_object_get(json_array_get(json_object_get(validated, "problems"), i), "text")),
				     said[i]) != NULL, "%s: %s", said[i], answered);
	ck_assert_uint_eq(json_array_size(json_object_get(validated, "warnings")), ARRAY_LEN(warned));
	for (size_t i = 0; i < ARRAY_LEN(warned); i++)
		ck_assert_msg(strstr(json_string_value(json_array_get(json_object_get(validated, "warnings"), i)), warned[i]) != NULL,
			      "%s: %s", warned[i], answered);
	json_decref(validated);
}
END_TEST

static const struct { const char *member, *value, *said; bool warned; } specs[] = {
	{ "username", "\"u@vsphere.local\\n\"", "blank or a line end" },
	{ "username", "\" u\"", "blank or a line end" },
	{ "username", "\"u\\u0001\"", "the user name has a control character" },
	{ "password", "\"p\\u001b\"", "the password has a control character" },
	{ "password", "\"p\\uffff\"", "the password has a control character" },
	{ "password", "\"\"", "the password is missing" },
	{ "settings", "{\"maxConnections\": \"2\"}", "maxConnections must be a whole number" },
	{ "settings", "{\"cloneTasks\": -1}", "cloneTasks must be a whole number" },
	{ "settings", "{\"cloneMode\": \"linked\"}", "cloneMode must be fullClone or linkedClone" },
	{ "settings", "{\"hardwareVersion\": \"19\"}", "hardwareVersion must be a version such as vmx-19" },
	{ "settings", "{\"snapshot\": 1}", "snapshot must be a text" },
	{ "settings", "{\"maxConections\": 2}", "\"maxConections\" is not known", true },
	/* What is good. */
	{ "password", "\" p\\t<\\r\\n\\u00e9]]> \"", NULL },
	{ "settings", "{\"maxConnections\": 2, \"cloneMode\": \"\", \"hardwareVersion\": \"vmx-21\", \"snapshot\": null}", NULL },
};

START_TEST(judges_an_account_by_itself)
{
	AUTO_JSON json_t *doc = json_pack("{s:{s:s, s:s, s:s}}", "account", "vcenterServer", "vc", "username", "u", "password", "p");
	struct vsphere v = { .svc = &services };
	const json_t *list;

	json_object_set_new(json_object_get(doc, "account"), specs[_i].member, json_loads(specs[_i].value, JSON_DECODE_ANY, NULL));
	AUTO_FREE char *text = json_dumps(doc, 0);
	vs_account_validate(&v, NULL, text);
	list = json_object_get(validated, "problems");
	ck_assert_uint_eq(json_array_size(list), specs[_i].said && !specs[_i].warned);
	if (specs[_i].said && !specs[_i].warned)
		told(list, 1, specs[_i].said);
	if (specs[_i].warned)
		told(json_object_get(validated, "warnings"), 1, specs[_i].said);
	json_decref(validated);
}
END_TEST

/* It is asked again of the session that there is then, and as much. */
START_TEST(privileges_are_those_of_the_session_that_asks)
{
	struct vs_err err;

	end.expires = true;
	end.denied = "InventoryService.Tagging.ObjectAttachable group-v3";
	ck_assert_msg(check_privileges(&ss, NULL, place, ARRAY_LEN(place), CHECK_TAGS, problems, warnings, &err) == 0, "%s", err.text);
	ck_assert_int_eq(end.logins, 2);
	told(problems, 0, NULL);
	told(warnings, 1, "InventoryService.Tagging.ObjectAttachable");
}
END_TEST

START_TEST(a_validation_tells_what_it_could_not_check)
{
	AUTO_JSON json_t *doc = json_pack("{s:{s:s, s:s, s:s}}", "account", "vcenterServer", "vc", "username", "u", "password", "p");
	AUTO_FREE char *text = json_dumps(doc, 0);
	struct vsphere v = { .svc = &services };

	end.nameless = true;
	vs_account_validate(&v, NULL, text);
	told(json_object_get(validated, "warnings"), 1, "not checked: privileges");
	json_decref(validated);
}
END_TEST

#define MEMBER(free_gib) "summary.accessible=true summary.maintenanceMode=normal parent=group-p9 summary.freeSpace=" free_gib "073741824"
#define OUT_OF(state) state " parent=group-p9 summary.freeSpace=1073741824000"
#define ALL_REACHED "name=C1 host=host-1 datastore=datastore-20,datastore-21,datastore-22,datastore-23 network=dvportgroup-7 drs=true"

static const struct {
	const char *members[4], *of_cluster;
	unsigned uses;
	struct check_sizes sizes;
	size_t problems, warnings;
	const char *said;
} pods[] = {
	/* 100 GiB, 200 GiB */
	{ .members = { MEMBER("108") }, .sizes = { .disk_gib = 100, .machines = 1 } },
	{ .members = { MEMBER("108"), MEMBER("215") }, .sizes = { .disk_gib = 300, .machines = 3 } },
	{ .members = { MEMBER("108"), MEMBER("215") }, .sizes = { .disk_gib = 0, .machines = 3 } },
	{ .members = { MEMBER("108"), MEMBER("215") }, .sizes = { .disk_gib = 400, .machines = 4 }, .problems = 1,
	  .said = "datastore cluster /DC/datastore/pod has 300 GiB free, 200 GiB of it on one datastore: room for 3 of 4 machines with "
		  "disks of 100 GiB each" },
	/* All in all there is room, but on none for one. */
	{ .members = { MEMBER("108"), MEMBER("108"), MEMBER("108") }, .sizes = { .disk_gib = 150, .machines = 1 }, .problems = 1,
	  .said = "room for 0 of 1 machines with disks of 150 GiB" },
	{ .members = { MEMBER("108") }, .sizes = { .disk_gib = 400, .machines = 4 }, .uses = CHECK_LINKED, .warnings = 1,
	  .said = "4 machines may come to take 100 GiB each" },
	{ .members = { NULL }, .problems = 1, .said = "the user sees no datastore in datastore cluster /DC/datastore/pod" },
	{ .members = { OUT_OF("summary.accessible=false"), OUT_OF("summary.accessible=true summary.maintenanceMode=inMaintenance") },
	  .problems = 1, .said = "is accessible and out of maintenance mode" },
	/* What cannot be used has no room either. */
	{ .members = { OUT_OF("summary.accessible=false"), MEMBER("108") }, .sizes = { .disk_gib = 200, .machines = 2 }, .problems = 1,
	  .said = "has 100 GiB free" },
	{ .members = { MEMBER("108"), MEMBER("215") }, .of_cluster = "name=C1 host=host-1 datastore=datastore-10 network=dvportgroup-7 drs=true",
	  .problems = 1, .said = "no host of compute cluster C1 reaches a datastore of datastore cluster" },
	{ .members = { MEMBER("108"), MEMBER("215") }, .of_cluster = "name=C1 host=host-1 datastore=datastore-20 network=dvportgroup-7 drs=true",
	  .sizes = { .disk_gib = 200, .machines = 2 }, .problems = 1, .said = "has 100 GiB free" },
};

START_TEST(judges_a_datastore_cluster_by_its_datastores)
{
	struct check_entity e[ARRAY_LEN(place)];
	unsigned uses = pods[_i].uses;
	struct vs_err err;

	memcpy(e, place, sizeof(e));
	e[4] = (struct check_entity){ .kind = CHECK_DATASTORE, .ref = pod, .path = "/DC/datastore/pod", .field = "datastore" };
	memcpy(end.of_members, pods[_i].members, sizeof(end.of_members));
	end.of_cluster = pods[_i].of_cluster ? pods[_i].of_cluster : ALL_REACHED;
	ck_assert_msg(check_objects(&ss, NULL, e, ARRAY_LEN(e), &uses, &pods[_i].sizes, problems, warnings, &err) == 0, "%s",
		      err.text);
	told(problems, pods[_i].problems, pods[_i].problems ? pods[_i].said : NULL);
	told(warnings, pods[_i].warnings, pods[_i].warnings ? pods[_i].said : NULL);
	ck_assert_int_eq(end.asked, 1);
}
END_TEST

int main(void)
{
	TCase *tc = tcase_create("checks");
	Suite *s = suite_create("vsphere");
	SRunner *r;
	int failed;

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_loop_test(tc, says_which_versions_it_does_for, 0, ARRAY_LEN(releases));
	tcase_add_loop_test(tc, compares_clocks, 0, ARRAY_LEN(clocks));
	tcase_add_loop_test(tc, names_what_the_role_lacks_on_which_object, 0, ARRAY_LEN(roles));
	tcase_add_test(tc, names_all_at_once);
	tcase_add_loop_test(tc, judges_what_machines_would_be_made_of, 0, ARRAY_LEN(objects));
	tcase_add_test(tc, a_validation_answers_everything_at_once);
	tcase_add_loop_test(tc, judges_an_account_by_itself, 0, ARRAY_LEN(specs));
	tcase_add_test(tc, privileges_are_those_of_the_session_that_asks);
	tcase_add_test(tc, a_validation_tells_what_it_could_not_check);
	tcase_add_loop_test(tc, judges_a_datastore_cluster_by_its_datastores, 0, ARRAY_LEN(pods));
	suite_add_tcase(s, tc);
	r = srunner_create(s);
	srunner_run_all(r, CK_NORMAL);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? 1 : 0;
}
