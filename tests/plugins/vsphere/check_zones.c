/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"
#include "tests/plugins/vsphere/rig.h"

#include <stdio.h>
#include <string.h>

/* What pools with several placements hand over: a template for each of the workers', and failure domains that say the same. */

#define MODEL "--model cluster=2,pool=1,datastore=2,portgroup=2"

static struct rig rig;

static void setup(void)
{
	rig_open(&rig, MODEL);
	rig_vmctl(&rig, "make-tags k8s-region/north k8s-zone/a k8s-zone/b");
	rig_vmctl(&rig, "attach-tag k8s-region/north /DC0");
	rig_vmctl(&rig, "attach-tag k8s-zone/a /DC0/host/DC0_C0");
	rig_vmctl(&rig, "attach-tag k8s-zone/b /DC0/host/DC0_C1");
}

/* Nobody has told the second compute cluster apart. */
static void untagged_setup(void)
{
	rig_open(&rig, MODEL);
	rig_vmctl(&rig, "make-tags k8s-region/north k8s-zone/a");
	rig_vmctl(&rig, "attach-tag k8s-region/north /DC0");
	rig_vmctl(&rig, "attach-tag k8s-zone/a /DC0/host/DC0_C0");
}

static void teardown(void)
{
	rig_close(&rig);
}

#define PLACE(cluster, pool, datastore, network) \
	"{\"cluster\":\"" cluster "\",\"resourcePool\":\"" pool "\",\"datastore\":\"" datastore "\",\"network\":{\"networkName\":\"" network "\"}}"
#define C0 PLACE("DC0_C0", "", "LocalDS_0", "DC0_DVPG0")
#define C1 PLACE("DC0_C1", "", "LocalDS_1", "DC0_DVPG0")
#define STATIC(network, pool) "{\"networkName\":\"" network "\",\"staticIp\":true,\"ipPool\":{\"name\":\"" pool "\"}}"

static void set_pool(json_t *cluster, const char *name, const char *placements)
{
	json_t *pools = (json_t *)(uintptr_t)json_at(cluster, "spec.pools"), *pool = json_array_get(pools, 0);
	json_t *list = json_loads(placements, 0, NULL);

	ck_assert_msg(list != NULL, "%s", placements);
	if (name) {
		pool = json_deep_copy(pool);
		json_object_set_new(pool, "name", json_string(name));
		json_object_set_new(pool, "controlPlane", json_false());
		json_array_append_new(pools, pool);
	}
	json_object_set_new(json_object_get(pool, "cloudConfig"), "placements", list);
}

static json_t *export_of(json_t *cluster)
{
	json_t *doc = json_pack("{s:O, s:{s:s, s:s, s:i}, s:{s:s, s:i}, s:{s:{s:s, s:s}}, s:[]}", "cluster", cluster, "mark", "cluster",
				CLUSTER_UID, "gateway", "g1", "epoch", 1, "endpoint", "host", "10.0.0.5", "port", 6443, "observed", "folder",
				"id", "group-v1", "path", "/DC0/vm/c1", "machines");

	ck_assert_ptr_nonnull(doc);
	return json_object_get(rig_ok(&rig, "export_objects", CLUSTER_UID, doc), "objects");
}

/* NULL: the pool has no more. */
static const json_t *template_of(const json_t *objects, const char *pool, size_t number)
{
	json_t *item;
	size_t i;

	json_array_foreach(objects, i, item)
		if (strcmp(json_str_or(item, "role", ""), "workerTemplate") == 0 && strcmp(json_str_or(item, "pool", ""), pool) == 0 &&
		    number-- == 0)
			return item;
	return NULL;
}

static const json_t *spec_of(const json_t *objects, const char *kind, const char *name)
{
	json_t *item;
	size_t i;

	json_array_foreach(objects, i, item)
		if (strcmp(json_str_or(item, "object.kind", ""), kind) == 0 &&
		    strcmp(json_str_or(item, "object.metadata.name", ""), name) == 0)
			return json_at(item, "object.spec");
	ck_abort_msg("no %s %s", kind, name);
	return NULL;
}

#define RESOURCES_0 "/DC0/host/DC0_C0/Resources"
#define RESOURCES_1 "/DC0/host/DC0_C1/Resources"
#define NETWORK "/DC0/network/DC0_DVPG0"

/* The controllers take resource pool, datastore and networks of a failure domain over those of the template: both say the same. */
static const struct {
	const char *pool;
	size_t number;
	const char *template, *domain;
	bool control_plane; /* may use it too */
	const char *resource_pool, *datastore, *network;
} places[] = {
	{ "same", 0, "c1-same.1", "c1-dc0-c0", true, RESOURCES_0, "LocalDS_0", NETWORK },
	{ "same", 1, "c1-same.2", "c1-dc0-c1", true, RESOURCES_1, "LocalDS_1", NETWORK },
	{ "apart", 0, "c1-apart.1", "c1-dc0-c0.apart", false, RESOURCES_0 "/DC0_C0_RP1", "LocalDS_0", "/DC0/network/VM Network" },
	{ "apart", 1, "c1-apart.2", "c1-dc0-c1", true, RESOURCES_1, "LocalDS_1", NETWORK },
	{ "apart", 2, "c1-apart.3", "c1-dc0-c1.apart.3", false, RESOURCES_1, "LocalDS_0", NETWORK },
	{ "again", 0, "c1-again.1", "c1-dc0-c1.apart.3", false, RESOURCES_1, "LocalDS_0", NETWORK },
	{ "again", 1, "c1-again.2", "c1-rack-7", false, RESOURCES_0, "LocalDS_0", NETWORK },
	{ "one", 0, "c1-one", "", false, RESOURCES_1, "LocalDS_1", NETWORK },
};

static void check_zone(const json_t *objects, size_t i)
{
	const json_t *zone = spec_of(objects, "VSphereDeploymentZone", places[i].domain), *topology;
	char datastore[64];

	snprintf(datastore, sizeof(datastore), "/DC0/datastore/%s", places[i].datastore);
	ck_assert_str_eq(json_str_or(zone, "placementConstraint.resourcePool", ""), places[i].resource_pool);
	ck_assert_int_eq(json_bool_or(zone, "controlPlane", false), places[i].control_plane);
	topology = json_at(spec_of(objects, "VSphereFailureDomain", json_str_or(zone, "failureDomain", "")), "topology");
	ck_assert_str_eq(json_str_or(topology, "datastore", ""), datastore);
	ck_assert_uint_eq(json_array_size(json_object_get(topology, "networks")), 1);
	ck_assert_str_eq(json_str_or(topology, "networks.0", ""), places[i].network);
}

START_TEST(workers_have_a_template_and_a_failure_domain_for_each_placement)
{
	AUTO_JSON json_t *cluster = rig_cluster(&rig, CLUSTER_UID, "c1");
	json_t *objects;

	set_pool(cluster, "apart", "[" PLACE("DC0_C0", "DC0_C0_RP1", "LocalDS_0", "VM Network") "," C1 ","
				   PLACE("DC0_C1", "", "LocalDS_0", "DC0_DVPG0") "]");
	set_pool(cluster, "same", "[" C0 "," C1 "]");
	set_pool(cluster, "again", "[" PLACE("DC0_C1", "", "LocalDS_0", "DC0_DVPG0") ",{\"zone\":\"Rack 7\","
				   "\"cluster\":\"DC0_C0\",\"datastore\":\"LocalDS_0\",\"network\":{\"networkName\":\"DC0_DVPG0\"}}]");
	set_pool(cluster, "one", "[" C1 "]");
	/* Workers stand before it in the request, and take no name from it. */
	json_array_append((json_t *)(uintptr_t)json_at(cluster, "spec.pools"), json_array_get(json_at(cluster, "spec.pools"), 0));
	json_array_remove((json_t *)(uintptr_t)json_at(cluster, "spec.pools"), 0);
	json_object_set_new((json_t *)(uintptr_t)json_at(cluster, "spec.pools.4.cloudConfig"), "placements",
			    json_loads("[" C0 "," C1 "]", 0, NULL));
	objects = export_of(cluster);
	for (size_t i = 0; i < ARRAY_LEN(places); i++) {
		const json_t *item = template_of(objects, places[i].pool, places[i].number), *spec;
		char datastore[64];

		ck_assert_msg(item != NULL, "%s has no template %zu", places[i].pool, places[i].number);
		snprintf(datastore, sizeof(datastore), "/DC0/datastore/%s", places[i].datastore);
		spec = json_at(item, "object.spec.template.spec");
		ck_assert_str_eq(json_str(item, "object.metadata.name"), places[i].template);
		ck_assert_str_eq(json_str_or(spec, "resourcePool", ""), places[i].resource_pool);
		ck_assert_str_eq(json_str_or(spec, "datastore", ""), datastore);
		ck_assert_str_eq(json_str_or(spec, "network.devices.0.networkName", ""), places[i].network);
		ck_assert_str_eq(json_str_or(spec, "folder", ""), "/DC0/vm/c1");
		ck_assert_str_eq(json_string_value(json_object_get(json_object_get(spec, "customVMXKeys"), "pcg.pool")), places[i].pool);
		ck_assert_str_eq(json_str_or(item, "failureDomain", ""), places[i].domain);
		if (*places[i].domain)
			check_zone(objects, i);
	}
	ck_assert_ptr_null(template_of(objects, "same", 2));
	ck_assert_ptr_null(template_of(objects, "apart", 3));
	ck_assert_ptr_null(template_of(objects, "again", 2));
	ck_assert_ptr_null(template_of(objects, "one", 1));
}
END_TEST

START_TEST(workers_need_no_tags_for_their_failure_domains_are_left_out)
{
	AUTO_JSON json_t *cluster = rig_cluster(&rig, CLUSTER_UID, "c1");
	json_t *doc = rig_doc(cluster, NULL, NULL), *objects, *item;
	size_t i, zones = 0;

	set_pool(cluster, "w", "[" C0 "," C1 "]");
	json_object_set_new(doc, "check", json_true());
	ck_assert_uint_eq(json_array_size(json_object_get(rig_ok(&rig, "cluster_ensure", CLUSTER_UID, doc), "problems")), 0);
	objects = export_of(cluster);
	ck_assert_str_eq(json_str_or(template_of(objects, "w", 0), "failureDomain", ""), "c1-dc0-c0");
	ck_assert_str_eq(json_str_or(template_of(objects, "w", 1), "failureDomain", ""), "");
	ck_assert_str_eq(json_str_or(template_of(objects, "w", 1), "object.spec.template.spec.resourcePool", ""), RESOURCES_1);
	json_array_foreach(objects, i, item) {
		zones += strcmp(json_str_or(item, "object.kind", ""), "VSphereDeploymentZone") == 0;
		if (strcmp(json_str_or(item, "role", ""), "cluster") == 0)
			ck_assert_uint_eq(json_array_size(json_at(item, "status.failureDomains")), 1);
	}
	ck_assert_uint_eq(zones, 1);
}
END_TEST

START_TEST(each_placement_hands_its_own_address_pools_over)
{
	AUTO_JSON json_t *cluster = rig_cluster(&rig, CLUSTER_UID, "c1");
	const json_t *first, *second;
	json_t *objects;

	set_pool(cluster, "w", "[{\"cluster\":\"DC0_C0\",\"datastore\":\"LocalDS_0\",\"network\":" STATIC("DC0_DVPG0", "a") "},"
			       "{\"cluster\":\"DC0_C1\",\"datastore\":\"LocalDS_1\",\"network\":" STATIC("VM Network", "b") ","
			       "\"networks\":[" STATIC("DC0_DVPG0", "c") "]}]");
	objects = export_of(cluster);
	first = json_at(template_of(objects, "w", 0), "object.spec.template.spec.network.devices");
	second = json_at(template_of(objects, "w", 1), "object.spec.template.spec.network.devices");
	ck_assert_uint_eq(json_array_size(first), 1);
	ck_assert_uint_eq(json_array_size(second), 2);
	ck_assert_str_eq(json_str_or(first, "0.addressesFromPools.0.name", ""), "a");
	ck_assert_str_eq(json_str_or(second, "0.addressesFromPools.0.name", ""), "b");
	ck_assert_str_eq(json_str_or(second, "1.addressesFromPools.0.name", ""), "c");
}
END_TEST

#define TWO(first, second) "[{\"cluster\":\"DC0_C0\",\"datastore\":\"LocalDS_0\",\"network\":" first "}," \
			   "{\"cluster\":\"DC0_C1\",\"datastore\":\"LocalDS_1\",\"network\":" second "}]"
#define DHCP(network) "{\"networkName\":\"" network "\"}"

static const struct {
	const char *placements, *said; /* NULL: no problem */
} control_planes[] = {
	{ TWO(STATIC("DC0_DVPG0", "a"), STATIC("VM Network", "a")), NULL },
	{ TWO(STATIC("DC0_DVPG0", "a"), STATIC("DC0_DVPG0", "b")), "placement 2 of control plane pool control-plane" },
	{ TWO(STATIC("DC0_DVPG0", "a"), DHCP("DC0_DVPG0")), "placement 2 of control plane pool control-plane" },
	{ TWO(DHCP("DC0_DVPG0"), DHCP("VM Network")), NULL },
};

START_TEST(a_control_plane_has_one_set_of_address_pools)
{
	AUTO_JSON json_t *cluster = rig_cluster(&rig, CLUSTER_UID, "c1");
	json_t *doc = rig_doc(cluster, NULL, NULL), *problems;

	set_pool(cluster, NULL, control_planes[_i].placements);
	set_pool(cluster, "w", TWO(STATIC("DC0_DVPG0", "a"), STATIC("DC0_DVPG0", "b")));
	json_object_set_new(doc, "check", json_true());
	problems = json_object_get(rig_ok(&rig, "cluster_ensure", CLUSTER_UID, doc), "problems");
	AUTO_FREE char *text = json_dumps(problems, 0);
	ck_assert_msg(json_array_size(problems) == (control_planes[_i].said ? 1 : 0), "%s", text);
	if (control_planes[_i].said)
		ck_assert_msg(strstr(json_str_or(problems, "0.text", ""), control_planes[_i].said) != NULL, "%s", text);
}
END_TEST

int main(int argc, char **argv)
{
	Suite *s;
	TCase *tc;
	int status;

	if (!rig_main(argc, argv, "vcsim vmctl", &status))
		return status;
	s = suite_create("vsphere zones");
	tc = rig_case(s, "zones", setup, teardown);
	tcase_add_test(tc, workers_have_a_template_and_a_failure_domain_for_each_placement);
	tcase_add_test(tc, each_placement_hands_its_own_address_pools_over);
	tcase_add_loop_test(tc, a_control_plane_has_one_set_of_address_pools, 0, ARRAY_LEN(control_planes));
	tc = rig_case(s, "untagged", untagged_setup, teardown);
	tcase_add_test(tc, workers_need_no_tags_for_their_failure_domains_are_left_out);
	return rig_run(s);
}
