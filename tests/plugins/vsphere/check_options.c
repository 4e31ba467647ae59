/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"
#include "tests/plugins/vsphere/rig.h"

#include "pcg/provider.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Each option of a pool, set alone, and what govmomi reads of the machine that was made with it. */

#define MODEL "--model cluster=2,pool=1,datastore=2,pod=1,podstore=1,portgroup=2,templatedisk=2"

static struct rig rig;

static void setup(void)
{
	rig_open(&rig, MODEL);
}

static void twin_setup(void)
{
	rig_open(&rig, MODEL ",twin=1");
}

/* Tags as a vCenter 7.0 U2 or newer has them. */
static void api_setup(void)
{
	rig_open(&rig, "--api " MODEL);
}

static void teardown(void)
{
	rig_close(&rig);
}

static json_t *parse(const char *text)
{
	json_error_t why;
	json_t *j = json_loads(text, JSON_DECODE_ANY, &why);

	ck_assert_msg(j != NULL, "%s: %s", text, why.text);
	return j;
}

/* value is taken. Members on the way that are not there are made. */
static void set_at(json_t *doc, const char *path, json_t *value)
{
	char at[160], *part, *rest = at, *last;

	snprintf(at, sizeof(at), "%s", path);
	last = strrchr(at, '.') ? strrchr(at, '.') + 1 : at;
	while ((part = strsep(&rest, ".")) != last) {
		json_t *next = json_is_array(doc) ? json_array_get(doc, strtoul(part, NULL, 10)) : json_object_get(doc, part);

		if (!next) {
			next = json_object();
			json_object_set_new(doc, part, next);
		}
		doc = next;
	}
	json_object_set_new(doc, last, value);
}

/* set: members of the pool's cloudConfig; vm: what vmread says of the machine; clone: what vcsim says that was asked
 * for; both by paths. */
static const struct option {
	const char *name, *set, *vm, *clone;
} options[] = {
	{ "nothing", "{}", "{\"numCPU\":4, \"coresPerSocket\":4, \"memoryMB\":8192, \"disks.0.capacityKB\":41943040, \"disks.1.capacityKB\":10485760,"
	  " \"nics.0.type\":\"vmxnet3\", \"nics.0.network\":\"DC0_DVPG0\", \"nics.0.addressType\":\"manual\", \"nics.0.wakeOnLan\":true,"
	  " \"resourcePool\":\"/DC0/host/DC0_C0/Resources\", \"datastores.0\":\"LocalDS_0\", \"cpu.reservation\":0,"
	  " \"notes\":\"Machine of a Kubernetes cluster, made by its private cloud gateway.\", \"hardwareVersion\":\"vmx-13\"}",
	  "{\"diskMoveType\":\"moveAllDiskBackingsAndConsolidate\", \"snapshot\":\"\", \"powerOn\":true, \"profiles\":[], \"locatorProfiles\":[],"
	  " \"vAppConfigRemoved\":true}" },
	{ "processors", "{\"instanceType.numCPUs\":8}", "{\"numCPU\":8, \"coresPerSocket\":8}", "{}" },
	{ "one processor is two", "{\"instanceType.numCPUs\":1}", "{\"numCPU\":2, \"coresPerSocket\":2}", "{}" },
	{ "cores", "{\"instanceType.numCoresPerSocket\":2}", "{\"coresPerSocket\":2}", "{}" },
	{ "memory", "{\"instanceType.memoryMiB\":3072}", "{\"memoryMB\":3072}", "{}" },
	{ "disk", "{\"instanceType.diskGiB\":50}", "{\"disks.0.capacityKB\":52428800, \"disks.1.capacityKB\":10485760}", "{}" },
	{ "disk as it is", "{\"instanceType.diskGiB\":20}", "{\"disks.0.capacityKB\":20971520}", "{}" },
	{ "template's disks", "{\"additionalDisksGiB\":[15]}", "{\"disks.0.capacityKB\":41943040, \"disks.1.capacityKB\":15728640}", "{}" },
	{ "data disks", "{\"dataDisks\":[{\"name\":\"etcd\",\"sizeGiB\":5,\"provisioningMode\":\"Thin\"},"
	  "{\"name\":\"images\",\"sizeGiB\":7,\"provisioningMode\":\"EagerlyZeroed\"},{\"name\":\"logs\",\"sizeGiB\":2,\"provisioningMode\":\"Thick\"}]}",
	  "{\"disks.2.capacityKB\":5242880, \"disks.2.thin\":true, \"disks.2.mode\":\"persistent\", \"disks.3.capacityKB\":7340032,"
	  " \"disks.3.thin\":false, \"disks.3.eager\":true, \"disks.4.eager\":false, \"disks.4.thin\":false}", "{}" },
	{ "reservation of processors", "{\"resources.requests.cpuMHz\":500}", "{\"cpu.reservation\":500, \"memory.reservation\":0}", "{}" },
	{ "limit of processors", "{\"resources.limits.cpuMHz\":2500}", "{\"cpu.limit\":2500}", "{}" },
	{ "shares of processors", "{\"resources.shares.cpu\":4321}", "{\"cpu.shares\":4321}", "{}" },
	{ "reservation of memory", "{\"resources.requests.memoryMiB\":1024}", "{\"memory.reservation\":1024}", "{}" },
	{ "limit of memory", "{\"resources.limits.memoryMiB\":8192}", "{\"memory.limit\":8192}", "{}" },
	{ "shares of memory", "{\"resources.shares.memory\":99}", "{\"memory.shares\":99}", "{}" },
	{ "notes", "{\"notes\":\"Owner: platform <team> & \\u00fc\"}", "{\"notes\":\"Owner: platform <team> & \\u00fc\"}", "{}" },
	{ "linked clone", "{\"cloneMode\":\"linkedClone\", \"instanceType.diskGiB\":40}", "{\"disks.0.capacityKB\":20971520}",
	  "{\"diskMoveType\":\"createNewChildDiskBacking\"}" },
	{ "snapshot", "{\"cloneMode\":\"linkedClone\", \"snapshot\":\"base\"}", "{}",
	  "{\"diskMoveType\":\"createNewChildDiskBacking\"}" },
	{ "more networks", "{\"placements.0.networks\":[{\"networkName\":\"VM Network\",\"dhcp4\":false},{\"networkName\":\"DC0_DVPG1\"}]}",
	  "{\"nics.0.network\":\"DC0_DVPG0\", \"nics.1.network\":\"VM Network\", \"nics.1.type\":\"vmxnet3\","
	  " \"nics.2.network\":\"DC0_DVPG1\", \"nics.2.connected\":true}", "{}" },
	{ "resource pool", "{\"placements.0.resourcePool\":\"DC0_C0_RP1\"}",
	  "{\"resourcePool\":\"/DC0/host/DC0_C0/Resources/DC0_C0_RP1\"}", "{}" },
	{ "no resource pool", "{\"placements.0.resourcePool\":\"\"}", "{\"resourcePool\":\"/DC0/host/DC0_C0/Resources\"}", "{}" },
	{ "compute cluster", "{\"placements.0.cluster\":\"DC0_C1\"}", "{\"cluster\":\"/DC0/host/DC0_C1\"}", "{}" },
	{ "hardware version", "{\"hardwareVersion\":\"vmx-19\"}", "{\"hardwareVersion\":\"vmx-19\"}", "{\"powerOn\":false}" },
	{ "hardware version that it has", "{\"hardwareVersion\":\"vmx-10\"}", "{\"hardwareVersion\":\"vmx-13\"}", "{\"powerOn\":true}" },
	{ "custom attributes", "{\"customAttributes\":{\"owner\":\"platform <team>\",\"cost centre\":\"4711\"}}",
	  "{\"customValues\":{\"owner\":\"platform <team>\",\"cost centre\":\"4711\"}}", "{}" },
	{ "custom attributes again", "{\"customAttributes\":{\"owner\":\"b\"}}", "{\"customValues\":{\"owner\":\"b\"}}", "{}" },
	{ "tags", "{\"tags\":[\"env/prod\",\"team/a b\"]}", "{\"tags\":[\"env/prod\",\"team/a b\"]}", "{}" },
	{ "datastore cluster", "{\"placements.0.datastore\":\"DC0_POD0\"}", "{\"datastores.0\":\"LocalDS_1\"}", "{}" },
	{ "storage policy", "{\"storagePolicyName\":\"vSAN Default Storage Policy\", \"dataDisks\":[{\"name\":\"d\",\"sizeGiB\":3}]}",
	  "{\"datastores.0\":\"LocalDS_0\"}", "{\"profiles\":[\"aa6d5a82-1c88-45da-85d3-3d74b91a5bad\"],"
	  " \"diskProfiles\":[\"aa6d5a82-1c88-45da-85d3-3d74b91a5bad\"], \"locatorProfiles\":[\"aa6d5a82-1c88-45da-85d3-3d74b91a5bad\",\"aa6d5a82-1c88-45da-85d3-3d74b91a5bad\"]}" },
	{ "storage policy chooses", "{\"placements.0.storagePolicyName\":\"vSAN Default Storage Policy\", \"placements.0.datastore\":\"\"}",
	  "{}", "{\"profiles\":[\"aa6d5a82-1c88-45da-85d3-3d74b91a5bad\"]}" },
	{ "storage policy of a datastore cluster", "{\"storagePolicyName\":\"vSAN Default Storage Policy\","
	  " \"placements.0.datastore\":\"DC0_POD0\"}", "{\"datastores.0\":\"LocalDS_1\"}",
	  "{\"profiles\":[\"aa6d5a82-1c88-45da-85d3-3d74b91a5bad\"], \"locatorProfiles\":[\"aa6d5a82-1c88-45da-85d3-3d74b91a5bad\",\"aa6d5a82-1c88-45da-85d3-3d74b91a5bad\"]}" },
	{ "datastore", "{\"placements.0.datastore\":\"LocalDS_1\"}", "{\"datastores.0\":\"LocalDS_1\"}", "{}" },
};

#define N_OPTIONS ARRAY_LEN(options)

static void set_all(json_t *cluster, const char *members)
{
	AUTO_JSON json_t *set = parse(members);
	json_t *pool = (json_t *)(uintptr_t)json_at(cluster, "spec.pools.0.cloudConfig"), *value;
	const char *path;

	json_object_foreach(set, path, value)
		set_at(pool, path, json_incref(value));
}

static void check_all(const char *name, const json_t *seen, const char *members)
{
	AUTO_JSON json_t *expected = parse(members);
	json_t *value;
	const char *path;

	json_object_foreach(expected, path, value) {
		const json_t *is = json_at(seen, path);
		AUTO_FREE char *text = json_dumps(is ? is : seen, JSON_ENCODE_ANY);

		ck_assert_msg(json_equal(is, value), "%s: %s is %s", name, path, text);
	}
}

static json_t *asked(const json_t *clones, const char *name)
{
	json_t *one;
	size_t i;

	json_array_foreach(json_object_get(clones, "items"), i, one)
		if (strcmp(json_str_or(one, "name", ""), name) == 0)
			return one;
	return NULL;
}

static void ids_of(size_t i, char cluster[32], char machine[48], char name[32], char machine_name[48])
{
	snprintf(cluster, 32, "66f0c0ffee0000000000%04zu", i);
	snprintf(machine, 48, "11111111-2222-4333-8444-55555555%04zu", i);
	snprintf(name, 32, "o%02zu", i);
	snprintf(machine_name, 48, "o%02zu-cp-bcdfg", i);
}

static json_t *ensure_doc(size_t i, const char *set)
{
	char cluster_uid[32], uid[48], name[32], machine_name[48];
	json_t *cluster, *machine, *infra, *doc;

	ids_of(i, cluster_uid, uid, name, machine_name);
	cluster = rig_cluster(&rig, cluster_uid, name);
	set_all(cluster, set);
	machine = rig_machine(cluster, uid, machine_name);
	infra = json_object_get(rig_ok(&rig, "cluster_ensure", cluster_uid, rig_doc(cluster, NULL, NULL)), "observed");
	doc = rig_doc(cluster, machine, infra);
	json_decref(cluster);
	json_decref(machine);
	return doc;
}

START_TEST(each_option_is_what_the_machine_has)
{
	struct run *runs[N_OPTIONS];

	rig_vmctl(&rig, "make-tags env/dev env/prod team/a 'team/a b' 'other/prod'");
	for (size_t i = 0; i < N_OPTIONS; i++) {
		char cluster_uid[32], uid[48], name[32], machine_name[48];

		ids_of(i, cluster_uid, uid, name, machine_name);
		runs[i] = rig_begin(&rig, "a1", "machine_ensure", uid, ensure_doc(i, options[i].set));
	}
	rig_end_all(&rig);
	AUTO_JSON json_t *inventory = rig_vmread_tags(&rig), *clones = rig_admin(&rig, "GET", "/clones", NULL);
	for (size_t i = 0; i < N_OPTIONS; i++) {
		char cluster_uid[32], uid[48], name[32], machine_name[48];
		json_t *vm;

		ids_of(i, cluster_uid, uid, name, machine_name);
		ck_assert_msg(runs[i]->ok, "%s: %s", options[i].name, runs[i]->err.text);
		vm = rig_vm(inventory, machine_name);
		ck_assert_msg(vm != NULL, "%s: no machine", options[i].name);
		ck_assert_str_eq(json_str_or(vm, "powerState", ""), "poweredOn");
		check_all(options[i].name, vm, options[i].vm);
		check_all(options[i].name, asked(clones, machine_name), options[i].clone);
		if (!strstr(options[i].set, "tags"))
			ck_assert_ptr_null(json_object_get(vm, "tags"));
		if (strstr(options[i].set, "linkedClone"))
			ck_assert_str_ne(json_str_or(asked(clones, machine_name), "snapshot", ""), "");
	}
}
END_TEST

static char *metadata_of(const char *machine_name)
{
	AUTO_JSON json_t *inventory = rig_vmread(&rig);
	const json_t *extra = json_object_get(rig_vm(inventory, machine_name), "extraConfig");
	size_t len;

	ck_assert_str_eq(json_string_value(json_object_get(extra, "guestinfo.metadata.encoding")), "base64");
	return rig_base64(json_string_value(json_object_get(extra, "guestinfo.metadata")), &len);
}

/* MAC0, MAC1: the machine's, as govmomi reads them. */
static void check_metadata(const char *machine_name, const char *expected)
{
	AUTO_JSON json_t *inventory = rig_vmread(&rig);
	AUTO_FREE char *is = metadata_of(machine_name), *should = strdup(expected);

	for (size_t i = 0; i < 2; i++) {
		char mac[5], *at, path[8], *next;

		snprintf(mac, sizeof(mac), "MAC%zu", i);
		snprintf(path, sizeof(path), "mac.%zu", i);
		while ((at = strstr(should, mac))) {
			*at = 0;
			ck_assert_int_gt(asprintf(&next, "%s%s%s", should, json_str(rig_vm(inventory, machine_name), path), at + 4), 0);
			free(should);
			should = next;
		}
	}
	ck_assert_str_eq(is, should);
}

/* What the template of the vSphere controllers of 1.17 makes of the same devices: an address from a pool is not waited
 * for, gateways are by family, routes and name servers of the device's own. */
START_TEST(static_addresses_are_written_as_the_controllers_would)
{
	json_t *doc = ensure_doc(0, "{\"placements.0.network.staticIp\":true, \"placements.0.network.ipPool\":{\"name\":\"pool-a\"},"
		"\"placements.0.network.mtu\":1400, \"placements.0.network.searchDomains\":[\"own.test\"],"
		"\"placements.0.network.routes\":[{\"to\":\"172.16.0.0/12\",\"via\":\"10.77.0.9\",\"metric\":50},"
		"{\"to\":\"fd01::/48\",\"via\":\"fd00::9\"}],"
		"\"placements.0.networks\":[{\"networkName\":\"VM Network\",\"dhcp6\":true,\"dhcp4\":false}]}");
	json_t *machine = (json_t *)(uintptr_t)json_object_get(doc, "machine");
	char cluster[32], uid[48], name[32], machine_name[48];

	ids_of(0, cluster, uid, name, machine_name);
	json_object_set_new(machine, "addresses", parse("[{\"device\":0,\"pool\":\"pool-a\",\"address\":\"10.77.0.5\",\"prefix\":24,"
		"\"gateway\":\"10.77.0.1\",\"nameservers\":[\"10.77.0.2\",\"10.77.0.3\"],\"search\":[\"a.test\"]},"
		"{\"device\":0,\"pool\":\"pool-b\",\"address\":\"fd00::5\",\"prefix\":64,\"gateway\":\"fd00::1\","
		"\"nameservers\":[\"10.77.0.2\",\"fd00::2\"],\"search\":[]}]"));
	rig_ok(&rig, "machine_ensure", uid, doc);
	check_metadata(machine_name,
		       "\ninstance-id: \"o00-cp-bcdfg\"\nlocal-hostname: \"o00-cp-bcdfg\"\nwait-on-network:\n  ipv4: false\n"
		       "  ipv6: true\nnetwork:\n  version: 2\n  ethernets:\n    id0:\n      match:\n        macaddress: \"MAC0\"\n"
		       "      set-name: \"eth0\"\n      wakeonlan: true\n      dhcp4: false\n      dhcp6: false\n      accept-ra: false\n"
		       "      addresses:\n      - \"10.77.0.5/24\"\n      - \"fd00::5/64\"\n      gateway4: \"10.77.0.1\"\n"
		       "      gateway6: \"fd00::1\"\n      mtu: 1400\n      routes:\n      - to: \"172.16.0.0/12\"\n"
		       "        via: \"10.77.0.9\"\n        metric: 50\n      - to: \"fd01::/48\"\n        via: \"fd00::9\"\n        metric: 0\n"
		       "      nameservers:\n        addresses:\n        - \"10.77.0.2\"\n        - \"10.77.0.3\"\n        - \"fd00::2\"\n"
		       "        search:\n        - \"own.test\"\n        - \"a.test\"\n    id1:\n      match:\n        macaddress: \"MAC1\"\n"
		       "      set-name: \"eth1\"\n      wakeonlan: true\n      dhcp4: false\n      dhcp6: true\n      accept-ra: true\n");
}
END_TEST

START_TEST(without_a_reserved_address_nothing_is_made)
{
	char cluster[32], uid[48], name[32], machine_name[48];
	struct run *run;

	ids_of(0, cluster, uid, name, machine_name);
	run = rig_do(&rig, "a1", "machine_ensure", uid, ensure_doc(0, "{\"placements.0.network.staticIp\":true,"
		     " \"placements.0.network.parentPoolUid\":\"66f0c0ffee0000000000beef\"}"));
	ck_assert(!run->ok);
	ck_assert_ptr_nonnull(strstr(run->err.text, "/DC0/network/DC0_DVPG0 shall give static addresses, and none is reserved"));
	ck_assert_int_eq(rig_calls(&rig, "CloneVM_Task"), 0);
}
END_TEST

static json_t *two_zones(const char *more)
{
	json_t *cluster = rig_cluster(&rig, CLUSTER_UID, "c1");
	json_t *places = (json_t *)(uintptr_t)json_at(cluster, "spec.pools.0.cloudConfig.placements"), *second;

	second = json_deep_copy(json_array_get(places, 0));
	json_object_set_new(second, "cluster", json_string("/DC0/host/DC0_C1"));
	json_object_set_new(second, "datastore", json_string("LocalDS_1"));
	json_array_append_new(places, second);
	set_all(cluster, more);
	return cluster;
}

static void tag_zones(void)
{
	rig_vmctl(&rig, "make-tags k8s-region/north k8s-zone/a k8s-zone/b env/prod");
	rig_vmctl(&rig, "attach-tag k8s-region/north /DC0");
	rig_vmctl(&rig, "attach-tag k8s-zone/a /DC0/host/DC0_C0");
	rig_vmctl(&rig, "attach-tag k8s-zone/b /DC0/host/DC0_C1");
}

/* Machines 0 to n - 1 of the cluster, made at the same time; observed[i] is a new reference. */
static json_t *make_machines(json_t *cluster, size_t n, json_t **observed)
{
	json_t *infra = json_deep_copy(json_object_get(rig_ok(&rig, "cluster_ensure", CLUSTER_UID, rig_doc(cluster, NULL, NULL)),
						       "observed"));
	struct run *runs[8];

	for (size_t i = 0; i < n; i++) {
		char cluster_uid[32], uid[48], name[32], machine_name[48];

		ids_of(i, cluster_uid, uid, name, machine_name);
		AUTO_JSON json_t *machine = rig_machine(cluster, uid, machine_name);
		runs[i] = rig_begin(&rig, "a1", "machine_ensure", uid, rig_doc(cluster, machine, infra));
	}
	rig_end_all(&rig);
	for (size_t i = 0; i < n; i++) {
		ck_assert_msg(runs[i]->ok, "%s", runs[i]->err.text);
		observed[i] = json_deep_copy(json_object_get(runs[i]->reply, "observed"));
	}
	return infra;
}

START_TEST(placements_are_failure_domains_that_machines_are_spread_over)
{
	AUTO_JSON json_t *cluster = two_zones("{}"), *inventory = NULL, *infra = NULL;
	json_t *observed[4], *again, *machine;
	size_t of[2] = { 0, 0 };

	infra = make_machines(cluster, 4, observed);
	inventory = rig_vmread(&rig);
	for (size_t i = 0; i < 4; i++) {
		char cluster_uid[32], uid[48], name[32], machine_name[48];
		json_int_t zone = json_int_or(observed[i], "zone", 9);
		json_t *vm;

		ids_of(i, cluster_uid, uid, name, machine_name);
		vm = rig_vm(inventory, machine_name);
		ck_assert(zone == 0 || zone == 1);
		of[zone]++;
		ck_assert_str_eq(json_str_or(vm, "cluster", ""), zone ? "/DC0/host/DC0_C1" : "/DC0/host/DC0_C0");
		ck_assert_str_eq(json_str_or(vm, "datastores.0", ""), zone ? "LocalDS_1" : "LocalDS_0");
		ck_assert_str_eq(json_str_or(observed[i], "failureDomain", ""), zone ? "c1-dc0-c1" : "c1-dc0-c0");
	}
	ck_assert_uint_eq(of[0], 2);
	ck_assert_uint_eq(of[1], 2);

	/* Whoever lost its memory reads it from the machine. */
	rig_kill_workers(&rig);
	for (size_t i = 0; i < 4; i++) {
		char cluster_uid[32], uid[48], name[32], machine_name[48];

		ids_of(i, cluster_uid, uid, name, machine_name);
		machine = rig_machine(cluster, uid, machine_name);
		again = json_object_get(rig_ok(&rig, "machine_ensure", uid, rig_doc(cluster, machine, infra)), "observed");
		ck_assert(json_equal(json_object_get(again, "zone"), json_object_get(observed[i], "zone")));
		json_decref(machine);
		json_decref(observed[i]);
	}
	ck_assert_int_eq(rig_calls(&rig, "CloneVM_Task"), 4);
}
END_TEST

/* The second has none, and a datastore of its own. The controllers have one template for all of a control plane: that is told. */
START_TEST(a_placement_has_its_own_storage_policy)
{
	AUTO_JSON json_t *cluster = two_zones("{\"placements.0.storagePolicyName\":\"vSAN Default Storage Policy\"}"), *infra = NULL, *clones = NULL;
	json_t *observed[2], *doc = rig_doc(cluster, NULL, NULL);

	json_object_set_new(doc, "check", json_true());
	AUTO_FREE char *told = json_dumps(json_object_get(rig_ok(&rig, "cluster_ensure", CLUSTER_UID, doc), "problems"), 0);
	ck_assert_msg(strstr(told, "placement 2 of control plane pool control-plane has another storage policy") != NULL, "%s", told);
	infra = make_machines(cluster, 2, observed);
	clones = rig_admin(&rig, "GET", "/clones", NULL);
	for (size_t i = 0; i < 2; i++) {
		char cluster_uid[32], uid[48], name[32], machine_name[48];

		ids_of(i, cluster_uid, uid, name, machine_name);
		check_all("policy", asked(clones, machine_name), json_int_or(observed[i], "zone", 9) ? "{\"profiles\":[]}" :
			  "{\"profiles\":[\"aa6d5a82-1c88-45da-85d3-3d74b91a5bad\"]}");
		json_decref(observed[i]);
	}
}
END_TEST

START_TEST(failure_domains_need_the_tags_that_the_controllers_look_for)
{
	AUTO_JSON json_t *cluster = two_zones("{}"), *doc = rig_doc(cluster, NULL, NULL);
	json_t *problems;

	json_object_set_new(doc, "check", json_true());
	problems = json_object_get(rig_ok(&rig, "cluster_ensure", CLUSTER_UID, json_incref(doc)), "problems");
	AUTO_FREE char *text = json_dumps(problems, 0);
	ck_assert_uint_eq(json_array_size(problems), 3);
	ck_assert_ptr_nonnull(strstr(text, "datacenter /DC0 has no tag of category k8s-region"));
	ck_assert_ptr_nonnull(strstr(text, "compute cluster /DC0/host/DC0_C1 has no tag of category k8s-zone"));
	tag_zones();
	problems = json_object_get(rig_ok(&rig, "cluster_ensure", CLUSTER_UID, json_incref(doc)), "problems");
	ck_assert_uint_eq(json_array_size(problems), 0);
}
END_TEST

START_TEST(a_rule_keeps_control_planes_apart_and_goes_with_the_cluster)
{
	AUTO_JSON json_t *cluster = rig_cluster(&rig, CLUSTER_UID, "c1"), *infra = NULL, *before = NULL, *after = NULL;
	json_t *observed[3], *rule, *left;

	set_all(cluster, "{\"antiAffinity\":true}");
	infra = make_machines(cluster, 3, observed);
	before = rig_vmread(&rig);
	ck_assert_uint_eq(json_array_size(json_object_get(before, "rules")), 1);
	rule = json_array_get(json_object_get(before, "rules"), 0);
	ck_assert_str_eq(json_str_or(rule, "cluster", ""), "/DC0/host/DC0_C0");
	ck_assert_str_eq(json_str_or(rule, "name", ""), "pcg c1 control planes " CLUSTER_UID);
	ck_assert_str_eq(json_str_or(rule, "type", ""), "antiAffinity");
	ck_assert(json_bool_or(rule, "enabled", false));
	AUTO_JSON json_t *all = parse("[\"o00-cp-bcdfg\",\"o01-cp-bcdfg\",\"o02-cp-bcdfg\"]");
	AUTO_FREE char *vms = json_dumps(json_object_get(rule, "vms"), 0);
	ck_assert_msg(json_equal(json_object_get(rule, "vms"), all), "%s", vms);
	for (size_t i = 0; i < 3; i++) {
		char cluster_uid[32], uid[48], name[32], machine_name[48];

		ids_of(i, cluster_uid, uid, name, machine_name);
		AUTO_JSON json_t *machine = rig_machine(cluster, uid, machine_name);
		rig_ok(&rig, "machine_delete", uid, rig_doc(cluster, machine, observed[i]));
		json_decref(observed[i]);
	}
	/* One that may not be removed is left, and told. */
	if (_i)
		json_decref(rig_admin(&rig, "POST", "/fault", "{\"method\":\"ReconfigureComputeResource_Task\",\"mode\":\"fault\","
				      "\"fault\":\"NoPermission\",\"times\":9}"));
	left = json_object_get(rig_ok(&rig, "cluster_delete", CLUSTER_UID, rig_doc(cluster, NULL, infra)), "left");
	ck_assert_uint_eq(json_array_size(left), (size_t)_i);
	if (_i)
		ck_assert_ptr_nonnull(strstr(json_str_or(json_array_get(left, 0), "why", ""), "pcg c1 control planes " CLUSTER_UID));
	after = rig_vmread(&rig);
	ck_assert_uint_eq(json_array_size(json_object_get(after, "rules")), (size_t)_i);
}
END_TEST

static void slow_setup(void)
{
	rig_open(&rig, "--task-delay-ms 2000");
}

/* The worker ends before it has the answer to the clone, and the machine cannot be seen before that is done. */
START_TEST(a_clone_that_still_runs_is_waited_for_and_not_sent_again)
{
	AUTO_JSON json_t *cluster = rig_cluster(&rig, CLUSTER_UID, "c1"), *inventory = NULL;
	char cluster_uid[32], uid[48], name[32], machine_name[48], key[80];
	struct run *run;
	json_t *infra;

	ids_of(0, cluster_uid, uid, name, machine_name);
	AUTO_JSON json_t *machine = rig_machine(cluster, uid, machine_name);
	infra = json_deep_copy(json_object_get(rig_ok(&rig, "cluster_ensure", CLUSTER_UID, rig_doc(cluster, NULL, NULL)), "observed"));
	run = rig_begin(&rig, "a1", "machine_ensure", uid, rig_doc(cluster, machine, infra));
	run->once = true;
	rig_end_all(&rig);
	snprintf(key, sizeof(key), "machine_ensure %s", uid);
	ck_assert_str_ne(json_str_or(json_object_get(rig.checkpoints, key), "task", ""), "");
	json_object_set_new(rig.checkpoints, key, parse("{\"begun\":true}"));
	rig_kill_workers(&rig);
	rig_ok(&rig, "machine_ensure", uid, rig_doc(cluster, machine, infra));
	json_decref(infra);
	ck_assert_int_eq(rig_calls(&rig, "CloneVM_Task"), 1);
	inventory = rig_vmread(&rig);
	ck_assert_str_eq(json_str_or(rig_vm(inventory, machine_name), "powerState", ""), "poweredOn");
}
END_TEST

static json_t *problems_of(json_t *cluster)
{
	json_t *doc = rig_doc(cluster, NULL, NULL);

	json_object_set_new(doc, "check", json_true());
	return json_object_get(rig_ok(&rig, "cluster_ensure", CLUSTER_UID, doc), "problems");
}

/* The id in the brackets behind path. */
static void id_behind(const char *text, const char *path, char id[64])
{
	const char *at = strstr(text, path);

	ck_assert_msg(at != NULL, "%s: no %s", text, path);
	at += strlen(path) + 2;
	snprintf(id, 64, "%.*s", (int)strcspn(at, ")"), at);
}

START_TEST(a_name_that_is_not_unique_is_answered_with_paths_and_ids)
{
	AUTO_JSON json_t *cluster = rig_cluster(&rig, CLUSTER_UID, "c1"), *inventory = NULL;
	char cluster_uid[32], uid[48], name[32], machine_name[48], id[64];
	const char *text;
	json_t *infra, *problems;

	rig_vmctl(&rig, "make-folder /DC0/vm/a/team");
	rig_vmctl(&rig, "make-folder /DC0/vm/b/team");
	set_at(cluster, "spec.cloudConfig.placement.folder", json_string("team"));
	problems = problems_of(cluster);
	ck_assert_uint_eq(json_array_size(problems), 1);
	text = json_str_or(json_array_get(problems, 0), "text", "");
	ck_assert_msg(strstr(text, "2 folders go by \"team\"; there are: ") != NULL, "%s", text);
	id_behind(text, "/DC0/vm/a/team", id);
	id_behind(text, "/DC0/vm/b/team", id);
	/* By its id it is one. */
	set_at(cluster, "spec.cloudConfig.placement.folder", json_string(id));
	ids_of(0, cluster_uid, uid, name, machine_name);
	AUTO_JSON json_t *machine = rig_machine(cluster, uid, machine_name);
	infra = json_object_get(rig_ok(&rig, "cluster_ensure", CLUSTER_UID, rig_doc(cluster, NULL, NULL)), "observed");
	rig_ok(&rig, "machine_ensure", uid, rig_doc(cluster, machine, infra));
	inventory = rig_vmread(&rig);
	ck_assert_str_eq(json_str_or(rig_vm(inventory, machine_name), "folder", ""), "/DC0/vm/b/team/c1");
}
END_TEST

START_TEST(a_template_is_named_by_path_name_id_or_uuid)
{
	AUTO_JSON json_t *inventory = rig_vmread(&rig), *cluster = rig_cluster(&rig, CLUSTER_UID, "c1");
	json_t *template = rig_vm(inventory, "ubuntu-2404-kube-v1.36.3"), *problems;
	const char *good[] = { "ubuntu-2404-kube-v1.36.3", "templates/ubuntu-2404-kube-v1.36.3", json_str_or(template, "moref", ""),
			       json_str_or(template, "instanceUuid", ""), "/DC0/vm/templates/ubuntu-2404-kube-v1.36.3" };
	const char *text;

	/* Folders are known for a minute. */
	rig_vmctl(&rig, "make-folder /DC0/vm/old");
	for (size_t i = 0; i < ARRAY_LEN(good); i++) {
		set_at(cluster, "spec.image.template", json_string(good[i]));
		problems = problems_of(cluster);
		text = json_str_or(json_array_get(problems, 0), "text", "");
		ck_assert_msg(json_array_size(problems) == 0, "%zu %s: %s", i, good[i], text);
	}
	rig_vmctl(&rig, "clone /DC0/vm/templates/ubuntu-2404-kube-v1.36.3 /DC0/vm/old/ubuntu-2404-kube-v1.36.3 --pool /DC0/host/DC0_C0/Resources");
	rig_vmctl(&rig, "make-template /DC0/vm/old/ubuntu-2404-kube-v1.36.3");
	set_at(cluster, "spec.image.template", json_string(good[0]));
	problems = problems_of(cluster);
	text = json_str_or(json_array_get(problems, 0), "text", "");
	ck_assert_msg(strstr(text, "2 templates go by \"ubuntu-2404-kube-v1.36.3\"; there are: /DC0/vm/") != NULL, "%s", text);
	ck_assert_msg(strstr(text, json_str_or(template, "moref", "?")) != NULL, "%s", text);
}
END_TEST

START_TEST(what_was_made_anew_under_its_name_is_found_again)
{
	static const char set[] = "{\"tags\":[\"env/prod\"],\"customAttributes\":{\"owner\":\"platform\"}}";
	char cluster_uid[32], uid[48], name[32], machine_name[48];

	rig_vmctl(&rig, "make-tags env/prod");
	ids_of(0, cluster_uid, uid, name, machine_name);
	rig_ok(&rig, "machine_ensure", uid, ensure_doc(0, set));
	rig_vmctl(&rig, "renew-tag env/prod");
	rig_vmctl(&rig, "renew-attribute owner");
	ids_of(1, cluster_uid, uid, name, machine_name);
	rig_ok(&rig, "machine_ensure", uid, ensure_doc(1, set));
	AUTO_JSON json_t *inventory = rig_vmread_tags(&rig);
	check_all("the second", rig_vm(inventory, machine_name), "{\"tags\":[\"env/prod\"],\"customValues\":{\"owner\":\"platform\"}}");
}
END_TEST

/* An option of the pool holds, then the cluster's, then the account's. */
START_TEST(options_may_stand_in_the_cluster_and_in_the_account)
{
	static const char *const modes[] = { "createNewChildDiskBacking", "moveAllDiskBackingsAndConsolidate", "createNewChildDiskBacking" };

	for (size_t i = 0; i < 3; i++) {
		AUTO_JSON json_t *cluster = rig_cluster(&rig, CLUSTER_UID, "c1"), *settings = parse("{\"cloneMode\":\"linkedClone\"}");
		char cluster_uid[32], uid[48], name[32], machine_name[48];
		json_t *infra;

		rig_account_settings(&rig, "a1", json_incref(settings));
		if (i > 0)
			set_at(cluster, "spec.cloudConfig.cloneMode", json_string("fullClone"));
		if (i > 1)
			set_all(cluster, "{\"cloneMode\":\"linkedClone\"}");
		ids_of(i, cluster_uid, uid, name, machine_name);
		AUTO_JSON json_t *machine = rig_machine(cluster, uid, machine_name);
		infra = json_object_get(rig_ok(&rig, "cluster_ensure", CLUSTER_UID, rig_doc(cluster, NULL, NULL)), "observed");
		rig_ok(&rig, "machine_ensure", uid, rig_doc(cluster, machine, infra));
		AUTO_JSON json_t *clones = rig_admin(&rig, "GET", "/clones", NULL);
		ck_assert_str_eq(json_str_or(asked(clones, machine_name), "diskMoveType", ""), modes[i]);
	}
}
END_TEST

static json_t *with_user_data(size_t i, size_t bytes, bool random)
{
	json_t *doc = ensure_doc(i, "{}");
	char *text = malloc(bytes + 1);
	unsigned seed = 4711;

	for (size_t k = 0; k < bytes; k++)
		text[k] = random ? (char)(33 + rand_r(&seed) % 90) : "#cloud-config\n"[k % 14];
	text[bytes] = 0;
	json_object_set_new(doc, "userData", json_string(text));
	free(text);
	return doc;
}

START_TEST(large_user_data_is_packed_and_too_large_one_refused_with_the_limit)
{
	char cluster_uid[32], uid[48], name[32], machine_name[48];
	struct run *run;

	ids_of(0, cluster_uid, uid, name, machine_name);
	rig_ok(&rig, "machine_ensure", uid, with_user_data(0, 200000, false));
	AUTO_JSON json_t *inventory = rig_vmread(&rig);
	const json_t *extra = json_object_get(rig_vm(inventory, machine_name), "extraConfig");
	ck_assert_str_eq(json_string_value(json_object_get(extra, "guestinfo.userdata.encoding")), "gzip+base64");
	ck_assert_int_lt((int)strlen(json_string_value(json_object_get(extra, "guestinfo.userdata"))), 4000);
	ck_assert_ptr_nonnull(strstr(json_string_value(json_object_get(extra, "guestinfo.userdata")), "H4sI"));

	ids_of(1, cluster_uid, uid, name, machine_name);
	run = rig_do(&rig, "a1", "machine_ensure", uid, with_user_data(1, 700000, true));
	ck_assert(!run->ok);
	ck_assert_msg(strstr(run->err.text, "the user data has 700000 bytes, packed ") && strstr(run->err.text, "guestinfo takes 524288"),
		      "%s", run->err.text);
	ck_assert_int_eq(rig_calls(&rig, "CloneVM_Task"), 1);
}
END_TEST

static const json_t *exported(const json_t *objects, const char *kind)
{
	json_t *item;
	size_t i;

	json_array_foreach(objects, i, item)
		if (strcmp(json_str_or(item, "object.kind", ""), kind) == 0)
			return json_object_get(item, "object");
	ck_abort_msg("no %s", kind);
	return NULL;
}

/* With everything set that the controllers know. PCG_EXPORT_TO names a file for the objects, for a real API server. */
START_TEST(all_of_it_is_exported_for_the_controllers)
{
	AUTO_JSON json_t *cluster = two_zones("{\"instanceType.numCPUs\":6, \"instanceType.numCoresPerSocket\":3, \"instanceType.memoryMiB\":6144,"
		"\"instanceType.diskGiB\":30, \"additionalDisksGiB\":[12], \"dataDisks\":[{\"name\":\"etcd\",\"sizeGiB\":5,\"provisioningMode\":"
		"\"Thin\"}], \"resources.requests.cpuMHz\":500, \"resources.requests.memoryMiB\":1024, \"resources.limits.cpuMHz\":2000,"
		"\"resources.shares.memory\":77, \"hardwareVersion\":\"vmx-19\", \"tags\":[\"env/prod\"], \"powerOffMode\":\"trySoft\","
		"\"guestSoftPowerOffTimeoutSeconds\":90, \"antiAffinity\":true, \"storagePolicyName\":\"vSAN Default Storage Policy\","
		"\"placements.0.network\":{\"networkName\":\"DC0_DVPG0\",\"staticIp\":true,\"ipPool\":{\"name\":\"c1-pool\",\"nameserver\":"
		"{\"addresses\":[\"10.0.0.2\"],\"search\":[\"a.test\"]}},\"mtu\":1400,\"routes\":[{\"to\":\"172.16.0.0/12\",\"via\":\"10.0.0.9\"}]},"
		"\"placements.0.networks\":[{\"networkName\":\"VM Network\",\"dhcp4\":false}]}"), *doc = NULL;
	json_t *objects, *item, *workers = json_deep_copy(json_at(cluster, "spec.pools.0"));
	const json_t *spec, *zone;
	size_t i;

	json_object_set_new(workers, "name", json_string("w"));
	json_object_set_new(workers, "controlPlane", json_false());
	json_array_append_new((json_t *)(uintptr_t)json_at(cluster, "spec.pools"), workers);
	tag_zones();
	doc = json_pack("{s:O, s:{s:s, s:s, s:i}, s:{s:s, s:i}, s:{s:{s:s, s:s}}, s:[{s:s, s:s, s:s, s:s, s:O, s:o,"
			"s:{s:s, s:s, s:s, s:i, s:s, s:s, s:[{s:s, s:s}]}}]}", "cluster", cluster, "mark", "cluster", CLUSTER_UID,
			"gateway", "g1", "epoch", 1, "endpoint", "host", "10.0.0.5", "port", 6443, "observed", "folder", "id", "group-v1",
			"path", "/DC0/vm/c1", "machines", "uid", "u1", "name", "c1-cp-bcdfg", "pool", "control-plane", "role",
			"control-plane", "poolSpec", json_at(cluster, "spec.pools.0"), "addresses",
			parse("[{\"device\":0,\"pool\":\"c1-pool\",\"address\":\"10.0.0.5\",\"prefix\":24,\"gateway\":\"10.0.0.1\",\"nameservers\":"
			      "[\"10.0.0.2\"],\"search\":[\"a.test\"]}]"),
			"observed", "id", "42", "providerID", "vsphere://4203a2ab-0000-4000-8000-000000000001", "biosUUID",
			"4203a2ab-0000-4000-8000-000000000001", "zone", 0, "failureDomain", "c1-dc0-c0", "mac", "00:50:56:00:00:01",
			"addresses", "type", "ExternalIP", "address", "10.0.0.5");
	ck_assert_ptr_nonnull(doc);
	objects = json_object_get(rig_ok(&rig, "export_objects", CLUSTER_UID, json_incref(doc)), "objects");
	spec = json_at(exported(objects, "VSphereMachineTemplate"), "spec.template.spec");
	check_all("template", spec, "{\"numCPUs\":6, \"numCoresPerSocket\":3, \"memoryMiB\":6144, \"diskGiB\":30, \"additionalDisksGiB\":[12],"
		  "\"dataDisks\":[{\"name\":\"etcd\",\"sizeGiB\":5,\"provisioningMode\":\"Thin\"}], \"hardwareVersion\":\"vmx-19\","
		  "\"storagePolicyName\":\"vSAN Default Storage Policy\", \"powerOffMode\":\"trySoft\", \"guestSoftPowerOffTimeoutSeconds\":90,"
		  "\"resources\":{\"requests\":{\"cpu\":\"500M\",\"memory\":\"1024Mi\"},\"limits\":{\"cpu\":\"2000M\"},\"shares\":{\"memory\":77}},"
		  "\"cloneMode\":\"fullClone\", \"network.devices\":[{\"networkName\":\"/DC0/network/DC0_DVPG0\",\"mtu\":1400,\"routes\":"
		  "[{\"to\":\"172.16.0.0/12\",\"via\":\"10.0.0.9\",\"metric\":0}],\"addressesFromPools\":[{\"apiGroup\":\"ipam.cluster.x-k8s.io\","
		  "\"kind\":\"InClusterIPPool\",\"name\":\"c1-pool\"}],\"nameservers\":[\"10.0.0.2\"],\"searchDomains\":[\"a.test\"]},"
		  "{\"networkName\":\"/DC0/network/VM Network\",\"skipIPAllocation\":true}]}");
	ck_assert_uint_eq(json_array_size(json_object_get(spec, "tagIDs")), 1);
	ck_assert(strncmp(json_str(spec, "tagIDs.0"), "urn:vmomi:InventoryServiceTag:", 30) == 0);
	/* A machine's devices are the template's: the controllers write its addresses themselves. */
	ck_assert(json_equal(json_at(exported(objects, "VSphereVM"), "spec.network"), json_object_get(spec, "network")));
	ck_assert(json_equal(json_at(exported(objects, "VSphereMachine"), "spec.network"), json_object_get(spec, "network")));
	zone = exported(objects, "VSphereFailureDomain");
	check_all("failure domain", json_object_get(zone, "spec"), "{\"region\":{\"name\":\"north\",\"type\":\"Datacenter\",\"tagCategory\":"
		  "\"k8s-region\"}, \"zone\":{\"name\":\"a\",\"type\":\"ComputeCluster\",\"tagCategory\":\"k8s-zone\"},"
		  "\"topology\":{\"datacenter\":\"/DC0\",\"computeCluster\":\"/DC0/host/DC0_C0\",\"networks\":[\"/DC0/network/DC0_DVPG0\","
		  "\"/DC0/network/VM Network\"],\"datastore\":\"/DC0/datastore/LocalDS_0\"}}");
	check_all("deployment zone", json_object_get(exported(objects, "VSphereDeploymentZone"), "spec"), "{\"failureDomain\":\"c1-dc0-c0\","
		  "\"controlPlane\":true, \"placementConstraint\":{\"resourcePool\":\"/DC0/host/DC0_C0/Resources\",\"folder\":\"/DC0/vm/c1\"}}");
	check_all("cluster", exported(objects, "VSphereCluster"), "{\"spec.failureDomainSelector\":{\"matchLabels\":"
		  "{\"cluster.x-k8s.io/cluster-name\":\"c1\"}}}");
	json_array_foreach(objects, i, item)
		if (strcmp(json_str_or(item, "role", ""), "cluster") == 0)
			check_all("cluster", item, "{\"status.failureDomains\":[{\"name\":\"c1-dc0-c0\",\"controlPlane\":true},"
				  "{\"name\":\"c1-dc0-c1\",\"controlPlane\":true}]}");
	if (getenv("PCG_EXPORT_TO"))
		ck_assert_int_eq(json_dump_file(objects, getenv("PCG_EXPORT_TO"), 0), 0);
}
END_TEST

/* They know policies by their names alone. */
START_TEST(a_storage_policy_that_is_named_by_its_id_is_exported_by_its_name)
{
	AUTO_JSON json_t *cluster = rig_cluster(&rig, CLUSTER_UID, "c1");
	json_t *doc, *objects;

	set_all(cluster, "{\"storagePolicyName\":\"aa6d5a82-1c88-45da-85d3-3d74b91a5bad\"}");
	doc = json_pack("{s:O, s:{s:s}, s:{}}", "cluster", cluster, "mark", "cluster", CLUSTER_UID, "observed");
	objects = json_object_get(rig_ok(&rig, "export_objects", CLUSTER_UID, doc), "objects");
	ck_assert_str_eq(json_str_or(exported(objects, "VSphereMachineTemplate"), "spec.template.spec.storagePolicyName", ""),
			 "vSAN Default Storage Policy");
}
END_TEST

/* What a person calls "50% [x]" vCenter calls 50%25 [x], and govmomi, by which the controllers look things up, takes it for a pattern. */
START_TEST(names_with_special_characters_lead_there_for_us_and_for_the_controllers)
{
	AUTO_JSON json_t *cluster = rig_cluster(&rig, CLUSTER_UID, "c1"), *inventory = NULL;
	AUTO_FREE char *command = NULL;
	char cluster_uid[32], uid[48], name[32], machine_name[48];
	json_t *infra, *doc;
	const json_t *spec;

	rig_vmctl(&rig, "make-folder '/DC0/vm/50% [x]'");
	rig_vmctl(&rig, "clone /DC0/vm/templates/ubuntu-2404-kube-v1.36.3 '/DC0/vm/50%25 \\[x]/odd' --pool /DC0/host/DC0_C0/Resources");
	rig_vmctl(&rig, "make-template '/DC0/vm/50%25 \\[x]/odd'");
	set_at(cluster, "spec.cloudConfig.placement.folder", json_string("50% [x]"));
	set_at(cluster, "spec.image.template", json_string("50% [x]/odd"));
	ids_of(0, cluster_uid, uid, name, machine_name);
	AUTO_JSON json_t *machine = rig_machine(cluster, uid, machine_name);
	infra = json_object_get(rig_ok(&rig, "cluster_ensure", CLUSTER_UID, rig_doc(cluster, NULL, NULL)), "observed");
	ck_assert_str_eq(json_str_or(infra, "folder.path", ""), "/DC0/vm/50% [x]/c1");
	rig_ok(&rig, "machine_ensure", uid, rig_doc(cluster, machine, infra));
	doc = json_pack("{s:O, s:{s:s}, s:O}", "cluster", cluster, "mark", "cluster", CLUSTER_UID, "observed", infra);
	spec = json_at(exported(json_object_get(rig_ok(&rig, "export_objects", CLUSTER_UID, doc), "objects"), "VSphereMachineTemplate"),
		       "spec.template.spec");
	ck_assert_str_eq(json_str_or(spec, "folder", ""), "/DC0/vm/50%25 \\[x]/c1");
	ck_assert_str_eq(json_str_or(spec, "network.devices.0.networkName", ""), "/DC0/network/DC0_DVPG0");
	ck_assert_int_gt(asprintf(&command, "clone '%s' '%s/by-the-controllers' --pool '%s'", json_str(spec, "template"),
				  json_str(spec, "folder"), json_str(spec, "resourcePool")), 0);
	rig_vmctl(&rig, command);
	inventory = rig_vmread(&rig);
	ck_assert_ptr_nonnull(rig_vm(inventory, machine_name));
	ck_assert_ptr_nonnull(rig_vm(inventory, "by-the-controllers"));
}
END_TEST

/* A standard network and a port group. Whoever chose one by its id means that one later, too. */
START_TEST(a_network_whose_path_another_has_is_exported_by_its_reference)
{
	AUTO_JSON json_t *cluster = rig_cluster(&rig, CLUSTER_UID, "c1");
	const json_t *places = json_at(cluster, "spec.pools.0.cloudConfig.placements.0.network");
	char id[64];
	json_t *doc, *problems;
	const char *text, *name;

	json_object_set_new((json_t *)(uintptr_t)places, "networkName", json_string("VM Network"));
	problems = problems_of(cluster);
	text = json_str_or(json_array_get(problems, 0), "text", "");
	ck_assert_msg(strstr(text, "2 networks go by \"VM Network\"; there are: ") != NULL, "%s", text);
	text = strstr(text, "(dvportgroup-");
	ck_assert_ptr_nonnull(text);
	snprintf(id, sizeof(id), "%.*s", (int)strcspn(text + 1, ")"), text + 1);
	json_object_set_new((json_t *)(uintptr_t)places, "networkName", json_string(id));
	doc = json_pack("{s:O, s:{s:s}, s:{}}", "cluster", cluster, "mark", "cluster", CLUSTER_UID, "observed");
	name = json_str_or(exported(json_object_get(rig_ok(&rig, "export_objects", CLUSTER_UID, doc), "objects"), "VSphereMachineTemplate"),
			   "spec.template.spec.network.devices.0.networkName", "");
	ck_assert_int_eq(strncmp(name, "DistributedVirtualPortgroup:", 28), 0);
	ck_assert_str_eq(name + 28, id);
}
END_TEST

/* set: members of the pool's cloudConfig that cannot be; what the problem says, and of which field. */
static const struct {
	const char *set, *field, *said;
} refused[] = {
	{ "{\"instanceType.diskGiB\":15}", "pool.cloudConfig.instanceType.diskGiB", "has 20 GiB and is never made smaller; 15 are" },
	{ "{\"additionalDisksGiB\":[5]}", "pool.cloudConfig.additionalDisksGiB", "disk 2 of template" },
	{ "{\"additionalDisksGiB\":[15,16]}", "pool.cloudConfig.additionalDisksGiB", "has 1 disks beside its first" },
	{ "{\"cloneMode\":\"linkedClone\",\"additionalDisksGiB\":[15]}", "pool.cloudConfig.additionalDisksGiB", "keeps its size" },
	{ "{\"dataDisks\":[{\"name\":\"a\"}]}", "pool.cloudConfig.dataDisks", "name, sizeGiB" },
	{ "{\"dataDisks\":[{\"name\":\"a\",\"sizeGiB\":1},{\"name\":\"a\",\"sizeGiB\":1}]}", "pool.cloudConfig.dataDisks", "names of their own" },
	{ "{\"instanceType.numCoresPerSocket\":3}", "pool.cloudConfig.instanceType.numCoresPerSocket", "4 processors cannot be" },
	{ "{\"instanceType.memoryMiB\":6145}", "pool.cloudConfig.instanceType.memoryMiB", "6145 MiB is no memory of a machine" },
	{ "{\"instanceType.numCPUs\":\"x\"}", "pool.cloudConfig.instanceType.numCPUs", "a number from 1 to" },
	{ "{\"resources.requests.memoryMiB\":9000}", "pool.cloudConfig.resources.requests.memoryMiB", "machines of 8192 MiB" },
	{ "{\"resources.requests.cpuMHz\":900,\"resources.limits.cpuMHz\":800}", "pool.cloudConfig.resources", "above its limit" },
	{ "{\"cloneMode\":\"copy\"}", "pool.cloudConfig.cloneMode", "one of fullClone linkedClone" },
	{ "{\"cloneMode\":\"linkedClone\",\"snapshot\":\"absent\"}", "cloudConfig.snapshot", "no snapshot \"absent\" for a linked clone; there is: base (snapshot" },
	{ "{\"hardwareVersion\":\"19\"}", "pool.cloudConfig.hardwareVersion", "vmx-19" },
	{ "{\"instanceType.diskGiB\":60000}", "pool.cloudConfig.placements.datastore", "datastore /DC0/datastore/LocalDS_0 has " },
	{ "{\"dataDisks\":[{\"name\":\"d\",\"sizeGiB\":60000}]}", "pool.cloudConfig.placements.datastore", "machines are 60040 GiB" },
	{ "{\"placements.0.datastore\":\"DC0_POD0\", \"instanceType.diskGiB\":60000}", "pool.cloudConfig.placements.datastore",
	  "room for 0 of 1 machines with disks of 60000 GiB each" },
	{ "{\"notes\":\"a\\u0007b\"}", "pool.cloudConfig.notes", "without control characters" },
	{ "{\"customAttributes\":{\"owner\":\"a\\u0001\"}}", "pool.cloudConfig.customAttributes", "without control characters" },
	{ "{\"tags\":[1]}", "pool.cloudConfig.tags", "CATEGORY/NAME" },
	{ "{\"storagePolicyName\":\"absent\"}", "pool.cloudConfig.storagePolicyName", "no storage policy \"absent\"; there are: " },
	{ "{\"tags\":[\"absent/prod\"]}", "pool.cloudConfig.tags", "no category \"absent\"" },
	{ "{\"tags\":[\"env/absent\"]}", "pool.cloudConfig.tags", "no tag \"absent\" in category \"env\"" },
	{ "{\"tags\":[\"prod\"]}", "pool.cloudConfig.tags", "neither CATEGORY/NAME nor an id" },
	{ "{\"placements.0.network.mtu\":10000}", "pool.cloudConfig.placements.network.mtu", "576 to 9000" },
	{ "{\"placements.0.network.staticIp\":true}", "pool.cloudConfig.placements.network.staticIp", "no pool is named" },
	{ "{\"placements.0.network.dhcp4\":false}", "pool.cloudConfig.placements.network.dhcp4", "no way to an address" },
	{ "{\"placements.0.network.nameservers\":[\"dns.example\"]}", "pool.cloudConfig.placements.network.nameservers", "dns.example" },
	{ "{\"placements.0.network.routes\":[{\"to\":\"10.0.0.0\",\"via\":\"10.0.0.1\"}]}", "pool.cloudConfig.placements.network.routes", "cannot be set" },
	{ "{\"placements.0.networks\":[{\"networkName\":\"absent\"}]}", "pool.cloudConfig.placements.network.networkName", "no network \"absent\"" },
	{ "{\"placements.0.datastore\":\"absent\"}", "pool.cloudConfig.placements.datastore", "no datastore \"absent\"" },
	{ "{\"placements.0.datastore\":\"\"}", "pool.cloudConfig.placements.datastore", "names no datastore" },
};

START_TEST(what_cannot_be_is_a_problem_that_says_why)
{
	rig_vmctl(&rig, "make-tags env/prod");
	for (size_t i = 0; i < ARRAY_LEN(refused); i++) {
		AUTO_JSON json_t *cluster = rig_cluster(&rig, CLUSTER_UID, "c1");
		json_t *doc, *problems, *one;

		set_all(cluster, refused[i].set);
		doc = rig_doc(cluster, NULL, NULL);
		json_object_set_new(doc, "check", json_true());
		problems = json_object_get(rig_ok(&rig, "cluster_ensure", CLUSTER_UID, doc), "problems");
		AUTO_FREE char *text = json_dumps(problems, 0);
		ck_assert_msg(json_array_size(problems) == 1, "%s: %s", refused[i].set, text);
		one = json_array_get(problems, 0);
		ck_assert_str_eq(json_str_or(one, "field", ""), refused[i].field);
		ck_assert_msg(strstr(json_str_or(one, "text", ""), refused[i].said) != NULL, "%s: %s", refused[i].set, text);
		ck_assert_str_ne(json_str_or(one, "remedy", ""), "");
	}
}
END_TEST

int main(int argc, char **argv)
{
	Suite *s;
	TCase *tc;
	int status;

	if (!rig_main(argc, argv, "vcsim vmread vmctl", &status))
		return status;
	s = suite_create("vsphere options");
	tc = rig_case(s, "options", setup, teardown);
	tcase_add_test(tc, each_option_is_what_the_machine_has);
	tcase_add_test(tc, static_addresses_are_written_as_the_controllers_would);
	tcase_add_test(tc, without_a_reserved_address_nothing_is_made);
	tcase_add_test(tc, what_cannot_be_is_a_problem_that_says_why);
	tcase_add_test(tc, placements_are_failure_domains_that_machines_are_spread_over);
	tcase_add_test(tc, a_placement_has_its_own_storage_policy);
	tcase_add_test(tc, failure_domains_need_the_tags_that_the_controllers_look_for);
	tcase_add_test(tc, a_name_that_is_not_unique_is_answered_with_paths_and_ids);
	tcase_add_test(tc, a_template_is_named_by_path_name_id_or_uuid);
	tcase_add_test(tc, what_was_made_anew_under_its_name_is_found_again);
	tcase_add_test(tc, options_may_stand_in_the_cluster_and_in_the_account);
	tcase_add_test(tc, large_user_data_is_packed_and_too_large_one_refused_with_the_limit);
	tcase_add_loop_test(tc, a_rule_keeps_control_planes_apart_and_goes_with_the_cluster, 0, 2);
	tc = rig_case(s, "export", setup, teardown);
	tcase_add_test(tc, all_of_it_is_exported_for_the_controllers);
	tcase_add_test(tc, a_storage_policy_that_is_named_by_its_id_is_exported_by_its_name);
	tcase_add_test(tc, names_with_special_characters_lead_there_for_us_and_for_the_controllers);
	tc = rig_case(s, "twin", twin_setup, teardown);
	tcase_add_test(tc, a_network_whose_path_another_has_is_exported_by_its_reference);
	tc = rig_case(s, "api", api_setup, teardown);
	tcase_add_test(tc, what_was_made_anew_under_its_name_is_found_again);
	tc = rig_case(s, "slow tasks", slow_setup, teardown);
	tcase_add_test(tc, a_clone_that_still_runs_is_waited_for_and_not_sent_again);
	return rig_run(s);
}
