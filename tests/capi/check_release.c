/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Load balancers and volumes go before a cluster's machines. The stand-in's controllers do what real
 * ones do: a claim is held while a pod uses it, a StatefulSet makes pod and claim anew, a driver
 * removes the volume after its claim, a cloud provider the load balancer after its Service.
 */
#include "config.h"
#include "tests/capi/rig.h"

#include "core/clock.h"

#include <check.h>
#include <stdio.h>
#include <string.h>

#define NS "/api/v1/namespaces/shop/"
#define APPS "/apis/apps/v1/namespaces/shop/"

static bool driver_works;
/* The claim "new", in so many requests: its volume is made; made when the claim is gone; removed. */
static int makes_in, makes_late_in, removes_in;

static void put(const char *path, const char *text)
{
	json_error_t e;
	json_t *o = json_loads(text, 0, &e);

	ck_assert_msg(o != NULL, "%s: %s", path, e.text);
	fake_api_put(rig.api, path, o);
}

static json_t *get(const char *path)
{
	return fake_api_get(rig.api, path);
}

static void put_volume(const char *name, const char *policy, const char *source)
{
	char path[128], text[512];

	snprintf(path, sizeof(path), "/api/v1/persistentvolumes/%s", name);
	snprintf(text, sizeof(text),
		 "{\"kind\":\"PersistentVolume\",\"metadata\":{\"name\":\"%s\"},\"spec\":{"
		 "\"persistentVolumeReclaimPolicy\":\"%s\",%s,\"capacity\":{\"storage\":\"1Gi\"},"
		 "\"claimRef\":{\"namespace\":\"shop\",\"name\":\"%s\",\"uid\":\"claim-%s\"}},"
		 "\"status\":{\"phase\":\"Bound\"}}",
		 name, policy, source, name, name);
	put(path, text);
	snprintf(path, sizeof(path), NS "persistentvolumeclaims/%s", name);
	snprintf(text, sizeof(text),
		 "{\"kind\":\"PersistentVolumeClaim\",\"metadata\":{\"name\":\"%s\",\"namespace\":\"shop\","
		 "\"uid\":\"claim-%s\",\"finalizers\":[\"kubernetes.io/pvc-protection\"]}}",
		 name, name);
	put(path, text);
}

#define CSI "\"csi\":{\"driver\":\"csi.example\",\"volumeHandle\":\"disk-1\"}"

static void put_pod(const char *name, const char *owner, const char *volume)
{
	char path[128], text[512];

	snprintf(path, sizeof(path), NS "pods/%s", name);
	snprintf(text, sizeof(text),
		 "{\"kind\":\"Pod\",\"metadata\":{\"name\":\"%s\",\"namespace\":\"shop\"%s},"
		 "\"spec\":{\"volumes\":[%s]}}",
		 name, owner, volume);
	put(path, text);
}

#define OWNED(api, kind, name)                                                                     \
	",\"ownerReferences\":[{\"apiVersion\":\"" api "\",\"kind\":\"" kind "\",\"name\":\"" name \
	"\",\"uid\":\"uid-of-" name "\",\"controller\":true}]"
#define CLAIM(name)                                                                                \
	"{\"name\":\"data\",\"persistentVolumeClaim\":{\"claimName\":\"" name "\"}}"

static void put_workload(const char *path, const char *kind, const char *name, const char *owner)
{
	char text[512];

	snprintf(text, sizeof(text),
		 "{\"kind\":\"%s\",\"metadata\":{\"name\":\"%s\",\"namespace\":\"shop\",\"uid\":"
		 "\"uid-of-%s\"%s}}",
		 kind, name, name, owner);
	put(path, text);
}

/* ---- the cluster's controllers ---- */

static bool exists(const char *path)
{
	json_t *o = get(path);

	return o && !json_str(o, "metadata.deletionTimestamp");
}

static void run_driver(const char *name, const char *pod)
{
	char claim[128], volume[128], path[128];

	snprintf(claim, sizeof(claim), NS "persistentvolumeclaims/%s", name);
	snprintf(volume, sizeof(volume), "/api/v1/persistentvolumes/%s", name);
	snprintf(path, sizeof(path), NS "pods/%s", pod);
	if (get(claim) && json_str(get(claim), "metadata.deletionTimestamp") && !get(path))
		fake_api_drop(rig.api, claim);
	if (driver_works && get(volume) && !get(claim) &&
	    strcmp(json_str(get(volume), "spec.persistentVolumeReclaimPolicy"), "Delete") == 0)
		fake_api_drop(rig.api, volume);
}

/* A driver goes on when the claim is gone; the volume that it made then is removed, as its claim is not there. */
static void make_volume(void)
{
	const json_t *claim = get(NS "persistentvolumeclaims/new");
	bool late = !claim && makes_late_in > 0 && --makes_late_in == 0;

	if (late || (makes_in > 0 && --makes_in == 0)) {
		put_volume("new", "Delete", CSI);
		json_put_str(get(NS "persistentvolumeclaims/new"), "spec.volumeName", "new");
		removes_in = late ? 6 : 0;
		if (late)
			fake_api_drop(rig.api, NS "persistentvolumeclaims/new");
	}
}

static void run_controllers(struct fake_api *f)
{
	(void)f;
	make_volume();
	if (removes_in == 0 || --removes_in == 0)
		run_driver("new", "waits");
	run_driver("db-0", "db-0");
	run_driver("cache", "web-1-abc");
	run_driver("run-tmp", "run");
	run_driver("archive", "none");
	/* A StatefulSet and a Deployment make anew what they miss. */
	if (exists(APPS "statefulsets/db") && !get(NS "pods/db-0")) {
		put_pod("db-0", OWNED("apps/v1", "StatefulSet", "db"), CLAIM("db-0"));
		if (!get(NS "persistentvolumeclaims/db-0"))
			put_volume("db-0", "Delete", CSI);
	}
	if (exists(APPS "deployments/web") && !get(APPS "replicasets/web-1"))
		put_workload(APPS "replicasets/web-1", "ReplicaSet", "web-1",
			     OWNED("apps/v1", "Deployment", "web"));
	if (exists(APPS "replicasets/web-1") && !get(NS "pods/web-1-abc"))
		put_pod("web-1-abc", OWNED("apps/v1", "ReplicaSet", "web-1"), CLAIM("cache"));
	if (driver_works && get(NS "services/web") &&
	    json_str(get(NS "services/web"), "metadata.deletionTimestamp"))
		fake_api_drop(rig.api, NS "services/web");
}

static void setup(void)
{
	rig_setup();
	driver_works = true;
	makes_late_in = 0;
	makes_in = removes_in = 0;
	put(NS "services/web",
	    "{\"kind\":\"Service\",\"metadata\":{\"name\":\"web\",\"namespace\":\"shop\",\"finalizers\":"
	    "[\"service.kubernetes.io/load-balancer-cleanup\"]},\"spec\":{\"type\":\"LoadBalancer\"},"
	    "\"status\":{\"loadBalancer\":{\"ingress\":[{\"ip\":\"192.0.2.9\"}]}}}");
	put(NS "services/inner",
	    "{\"kind\":\"Service\",\"metadata\":{\"name\":\"inner\",\"namespace\":\"shop\"},"
	    "\"spec\":{\"type\":\"ClusterIP\"}}");
	put_volume("db-0", "Delete", CSI);
	put_volume("cache", "Delete", CSI);
	put_volume("run-tmp", "Delete", CSI);
	put_volume("archive", "Retain", CSI);
	put_volume("local", "Delete", "\"local\":{\"path\":\"/mnt\"}");
	put_workload(APPS "statefulsets/db", "StatefulSet", "db", "");
	put_workload(APPS "deployments/web", "Deployment", "web", "");
	put_workload(APPS "replicasets/web-1", "ReplicaSet", "web-1",
		     OWNED("apps/v1", "Deployment", "web"));
	put_pod("db-0", OWNED("apps/v1", "StatefulSet", "db"), CLAIM("db-0"));
	put_pod("web-1-abc", OWNED("apps/v1", "ReplicaSet", "web-1"), CLAIM("cache"));
	/* Its claim was made for it alone. */
	put_pod("run", "", "{\"name\":\"tmp\",\"ephemeral\":{}}");
	put_pod("other", "", "{\"name\":\"x\",\"emptyDir\":{}}");
	fake_api_controller(rig.api, run_controllers);
}

static void teardown(void)
{
	fake_api_controller(rig.api, NULL);
	rig_teardown();
}

static bool release(const char *keep, int timeout_ms)
{
	AUTO_JSON json_t *in = json_pack("{s:i}", "timeoutMs", timeout_ms);
	struct capi_callbacks cb = rig_callbacks();

	if (keep)
		json_object_set_new(in, "keepVolumes", json_pack("[s]", keep));
	return rig_run(capi_release(fake_api_kube(rig.api), in, &cb));
}

static const char *why_left(const char *what)
{
	json_t *item;
	size_t i;

	json_array_foreach (json_object_get(rig.result, "left"), i, item)
		if (strstr(json_str(item, "name"), what))
			return json_str(item, "why");
	return NULL;
}

START_TEST(everything_that_would_outlive_the_machines_is_removed)
{
	ck_assert_msg(release(NULL, 20000), "%s", rig.err.text);
	ck_assert(!get(NS "services/web"));
	ck_assert(get(NS "services/inner"));
	ck_assert(!get("/api/v1/persistentvolumes/db-0"));
	ck_assert(!get("/api/v1/persistentvolumes/cache"));
	ck_assert(!get("/api/v1/persistentvolumes/run-tmp"));
	ck_assert(!get(APPS "statefulsets/db"));
	ck_assert(!get(APPS "deployments/web"));
	ck_assert(!get(NS "pods/run"));
	ck_assert(rig_progressed("deleting PersistentVolumeClaim/shop/db-0"));
}
END_TEST

START_TEST(what_is_retained_or_dies_with_its_machine_is_not_touched)
{
	ck_assert(release(NULL, 20000));
	ck_assert(get("/api/v1/persistentvolumes/archive"));
	ck_assert(get(NS "persistentvolumeclaims/archive"));
	ck_assert(get("/api/v1/persistentvolumes/local"));
	ck_assert(get(NS "pods/other"));
	ck_assert_uint_eq(json_array_size(json_object_get(rig.result, "left")), 1);
	ck_assert_str_eq(json_str(rig.result, "left.0.id"), "disk-1");
	ck_assert_str_eq(why_left("archive"), "kept: its reclaim policy is not Delete");
}
END_TEST

START_TEST(a_volume_that_nobody_ever_claimed_is_told_and_not_waited_for)
{
	int64_t before;

	put("/api/v1/persistentvolumes/spare",
	    "{\"kind\":\"PersistentVolume\",\"metadata\":{\"name\":\"spare\"},\"spec\":{"
	    "\"persistentVolumeReclaimPolicy\":\"Delete\"," CSI "},\"status\":{\"phase\":\"Available\"}}");
	before = clock_mono_ms();
	ck_assert(release(NULL, 3000));
	ck_assert_int_lt(clock_mono_ms() - before, 3000);
	ck_assert(!get("/api/v1/persistentvolumes/cache"));
	ck_assert_str_eq(why_left("spare"), "kept: nobody has claimed it, so no driver removes it");
}
END_TEST

START_TEST(a_volume_that_policy_keeps_stays_with_its_pods)
{
	ck_assert(release("db-0", 20000));
	ck_assert(exists(NS "persistentvolumeclaims/db-0"));
	ck_assert(exists(APPS "statefulsets/db"));
	ck_assert(!get("/api/v1/persistentvolumes/cache"));
	ck_assert_str_eq(why_left("db-0"), "kept by policy");
}
END_TEST

START_TEST(what_nobody_removes_is_told_and_holds_nothing_up)
{
	driver_works = false;
	ck_assert(release(NULL, 400));
	ck_assert_str_eq(why_left("load balancer of Service shop/web"),
			 "its cloud provider did not remove it in time");
	ck_assert_str_eq(why_left("cache"), "its driver did not remove it in time");
	ck_assert_str_eq(json_str(rig.result, "left.0.id"), "192.0.2.9");
	ck_assert_uint_eq(json_array_size(json_object_get(rig.result, "left")), 5);
}
END_TEST

/* A claim that a driver was asked for a volume for, and a pod that waits for it. */
static void put_asked_claim(const char *annotation)
{
	char text[512];

	snprintf(text, sizeof(text),
		 "{\"kind\":\"PersistentVolumeClaim\",\"metadata\":{\"name\":\"new\",\"namespace\":\"shop\","
		 "\"uid\":\"claim-new\",\"annotations\":{%s},\"finalizers\":[\"kubernetes.io/pvc-protection\"]}}",
		 annotation);
	put(NS "persistentvolumeclaims/new", text);
	put_pod("waits", "", CLAIM("new"));
}

#define ASKED "\"volume.kubernetes.io/storage-provisioner\":\"csi.example\""

START_TEST(a_volume_that_is_being_made_is_removed_when_it_is_there)
{
	put_asked_claim(ASKED);
	makes_in = 6;
	ck_assert(release(NULL, 20000));
	ck_assert(makes_in == 0);
	ck_assert(!get("/api/v1/persistentvolumes/new"));
	ck_assert(!get(NS "persistentvolumeclaims/new"));
	ck_assert(!get(NS "pods/waits"));
	ck_assert(!why_left("new"));
}
END_TEST

START_TEST(one_that_is_never_made_is_told_and_holds_nothing_up)
{
	int64_t before = clock_mono_ms();

	put_asked_claim(ASKED);
	ck_assert(release(NULL, 4000));
	ck_assert_int_lt(clock_mono_ms() - before, 4000);
	ck_assert(!get(NS "persistentvolumeclaims/new"));
	ck_assert(!get(NS "pods/waits"));
	ck_assert_str_eq(why_left("volume of claim shop/new"),
			 "may be there: its driver had been asked for it and had not made it in time");
	ck_assert(rig_progressed("released load balancers and volumes"));
}
END_TEST

START_TEST(one_that_its_driver_makes_after_its_claim_went_is_removed)
{
	put_asked_claim(ASKED);
	makes_late_in = 5;
	ck_assert(release(NULL, 20000));
	ck_assert_int_eq(makes_late_in, 0);
	ck_assert(!get("/api/v1/persistentvolumes/new"));
	ck_assert(!why_left("new"));
}
END_TEST

START_TEST(a_claim_that_waits_for_its_first_pod_is_not_waited_for)
{
	put_asked_claim("");
	ck_assert(release(NULL, 2000));
	ck_assert(exists(NS "persistentvolumeclaims/new"));
	ck_assert(!why_left("new"));
}
END_TEST

START_TEST(a_cluster_without_any_costs_three_lists)
{
	long before;

	ck_assert(release(NULL, 20000));
	fake_api_drop(rig.api, "/api/v1/persistentvolumes/archive");
	before = fake_api_requests(rig.api);
	ck_assert(release(NULL, 20000));
	ck_assert_int_eq(fake_api_requests(rig.api) - before, 3);
	ck_assert_uint_eq(json_array_size(json_object_get(rig.result, "left")), 0);
}
END_TEST

START_TEST(is_done_also_when_it_was_cut_at_any_request)
{
	int tries = 0;

	fake_api_fail(rig.api, _i, FAKE_CUT_AFTER);
	while (!release(NULL, 20000) && tries++ < 5)
		fake_api_heal(rig.api);
	ck_assert_int_lt(tries, 5);
	ck_assert(fake_api_fired(rig.api));
	ck_assert(!get("/api/v1/persistentvolumes/db-0"));
	ck_assert(!get(NS "services/web"));
	ck_assert(get("/api/v1/persistentvolumes/archive"));
}
END_TEST

START_TEST(what_a_cluster_has_is_read_for_policy)
{
	struct capi_callbacks cb = rig_callbacks();
	long before = fake_api_requests(rig.api);

	ck_assert(rig_run(capi_attached(fake_api_kube(rig.api), &cb)));
	ck_assert_int_eq(fake_api_requests(rig.api) - before, 2);
	ck_assert_uint_eq(json_array_size(json_object_get(rig.result, "volumes")), 4);
	ck_assert_uint_eq(json_array_size(json_object_get(rig.result, "loadBalancers")), 1);
	ck_assert_str_eq(json_str(rig.result, "loadBalancers.0.addresses.0"), "192.0.2.9");
}
END_TEST

int main(void)
{
	Suite *s = suite_create("release");
	TCase *t = tcase_create("release");
	SRunner *r;
	int failed;

	tcase_add_checked_fixture(t, setup, teardown);
	tcase_set_timeout(t, 60);
	tcase_add_test(t, everything_that_would_outlive_the_machines_is_removed);
	tcase_add_test(t, what_is_retained_or_dies_with_its_machine_is_not_touched);
	tcase_add_test(t, a_volume_that_nobody_ever_claimed_is_told_and_not_waited_for);
	tcase_add_test(t, a_volume_that_policy_keeps_stays_with_its_pods);
	tcase_add_test(t, what_nobody_removes_is_told_and_holds_nothing_up);
	tcase_add_test(t, a_volume_that_is_being_made_is_removed_when_it_is_there);
	tcase_add_test(t, one_that_is_never_made_is_told_and_holds_nothing_up);
	tcase_add_test(t, one_that_its_driver_makes_after_its_claim_went_is_removed);
	tcase_add_test(t, a_claim_that_waits_for_its_first_pod_is_not_waited_for);
	tcase_add_test(t, a_cluster_without_any_costs_three_lists);
	tcase_add_loop_test(t, is_done_also_when_it_was_cut_at_any_request, 1, 13);
	tcase_add_test(t, what_a_cluster_has_is_read_for_policy);
	suite_add_tcase(s, t);
	r = srunner_create(s);
	srunner_run_all(r, CK_ENV);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? 1 : 0;
}
