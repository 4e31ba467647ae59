/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "tests/plugins/vsphere/fake_vc.h"

#include "plugins/vsphere/clone_limit.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The one wait for changes, and what is made of what it tells. */

START_TEST(asks_for_the_rest_of_a_truncated_update_at_once)
{
	static const char *const updates[] = {
		UPDATE("1", "true", OBJECT("VirtualMachine", "vm-9", CHANGE("name", "<val>x</val>"))),
		UPDATE("2", "false",
		       OBJECT("Task", "task-1", CHANGE("info.state", "<val>success</val>")
			      CHANGE("info.result", "<val xsi:type=\"ManagedObjectReference\" type=\"VirtualMachine\">vm-1</val>"))),
		NULL,
	};
	struct track t;

	fake_watch(updates);
	ck_assert_uint_eq(end.waits, 3);
	ck_assert_str_eq(end.versions[0], "");
	ck_assert_str_eq(end.versions[1], "1");
	ck_assert_str_eq(end.versions[2], "2");
	ck_assert_uint_eq(end.pauses_before[1], 0);
	ck_assert_uint_ge(end.pauses_before[2], 1);
	ck_assert_str_eq(end.hints, "m1 ");
	fake_got(&t);
	ck_assert(t.task_done && !t.task_failed);
	ck_assert_str_eq(t.vm.value, "vm-1");
	track_copy_free(&t);
}
END_TEST

/* Truncated and empty, the same version, none, no update at all: none of it may be asked for as fast as it comes. */
static const char *const nothings[] = {
	UPDATE("1", "true", ""), UPDATE("", "true", OBJECT("VirtualMachine", "vm-9", CHANGE("name", "<val>x</val>"))),
	HEAD "<WaitForUpdatesExResponse xmlns=\"urn:vim25\"/>" TAIL,
};

START_TEST(an_answer_without_news_is_not_asked_for_in_a_hurry)
{
	const char *const updates[] = { nothings[_i], nothings[_i], nothings[_i], nothings[_i], nothings[_i], NULL };

	fake_watch(updates);
	ck_assert_uint_eq(end.waits, 6);
	/* 100, 200, 400, 800, 1600 ms, and what is waited for anyway */
	ck_assert_uint_ge(end.clock, 3100);
	ck_assert_str_eq(end.hints, "");
}
END_TEST

/* govmomi's simulator has one version for all that it tells. */
START_TEST(news_under_one_version_are_waited_for_at_once)
{
	static const char half[] = UPDATE("-", "false", OBJECT("Task", "task-1", CHANGE("info.state", "<val>running</val>")));
	static const char whole[] = UPDATE("-", "false", OBJECT("Task", "task-1", CHANGE("info.state", "<val>success</val>")));
	const char *updates[101] = { NULL };
	struct track t;

	for (int i = 0; i < 50; i++)
		updates[i] = i < 49 ? half : whole;
	fake_watch(updates);
	ck_assert_uint_eq(end.waits, 51);
	ck_assert_uint_lt(end.clock, 51 * 30 + 100); /* what begins meanwhile is waited for anyway */
	fake_got(&t);
	ck_assert(t.task_done);
	track_copy_free(&t);
	/* Unless they are always the same. */
	fake_teardown();
	fake_setup();
	for (int i = 0; i < 100; i++)
		updates[i] = half;
	fake_watch(updates);
	ck_assert_uint_eq(end.waits, 101);
	ck_assert_uint_ge(end.clock, 101 * 25 + 3500);
}
END_TEST

/* What is made for the wait has to be named by the answer. */
START_TEST(waits_for_nothing_that_has_no_name)
{
	static const char *const updates[] = { NULL };

	end.nameless = _i % 2 ? "CreateFilter" : "CreateListView";
	end.absent = _i / 2;
	fake_watch(updates);
	ck_assert_uint_eq(end.waits, 0);
	ck_assert_uint_eq(end.class, PCG_ERR_RETRY);
	ck_assert_msg(strstr(end.text, end.nameless) != NULL, "%s", end.text);
}
END_TEST

/* A clone that ended well: without a result, or with one that is no machine. */
static const char *const results[] = {
	"", CHANGE("info.result", "<val xsi:type=\"ManagedObjectReference\" type=\"Folder\">group-v9</val>"),
	CHANGE("info.result", "<val/>"),
};

START_TEST(a_clone_that_names_no_machine_is_looked_for_by_its_uuid)
{
	static const char doc[] = "{\"cluster\":{\"uid\":\"c1\",\"spec\":{}}, \"machine\":{\"uid\":\"m1\", \"name\":\"n1\"},"
				  "\"mark\":{}, \"checkpoint\":{\"task\":\"task-1\", \"folder\":\"group-v1\"}}";
	AUTO_FREE char *update = NULL;
	struct track t;

	ck_assert_int_gt(asprintf(&update, UPDATE("1", "false", OBJECT("Task", "task-1", CHANGE("info.state", "<val>success</val>") "%s")),
				  results[_i / 2]), 0);
	fake_watch((const char *const[]){ update, NULL });
	end.ended = false;
	end.class = 0;
	end.found = _i % 2 ? "vm-7" : NULL;
	provider->machine_ensure(end.v, NULL, doc);
	ck_assert_ptr_nonnull(strstr(end.calls, "FindByUuid "));
	ck_assert_ptr_null(strstr(end.calls, "PowerOnVM_Task"));
	if (end.found) {
		ck_assert(end.pended);
		fake_got(&t);
		ck_assert_str_eq(t.vm.value, "vm-7");
		track_copy_free(&t);
	} else {
		ck_assert_uint_eq(end.class, PCG_ERR_RETRY);
		ck_assert_msg(strstr(end.text, "task task-1, which cloned it, has ended well but names no machine") != NULL, "%s", end.text);
	}
}
END_TEST

#define CJK10 "\xe7\xbe\xa4\xe7\xbe\xa4\xe7\xbe\xa4\xe7\xbe\xa4\xe7\xbe\xa4\xe7\xbe\xa4\xe7\xbe\xa4\xe7\xbe\xa4\xe7\xbe\xa4\xe7\xbe\xa4"
#define CJK80 CJK10 CJK10 CJK10 CJK10 CJK10 CJK10 CJK10 CJK10

/* A text that no document takes would be an answer without it: a folder that is left would not be told. */
START_TEST(what_is_cut_to_fit_is_still_a_text)
{
	static const char *const updates[] = {
		UPDATE("1", "false", OBJECT("VirtualMachine", "vm-1", CHANGE("name", "<val>" CJK80 "</val>"))), NULL,
	};
	AUTO_JSON json_t *problems = json_array(), *name = NULL, *text = NULL;
	struct vs_err err;
	struct track t;

	track_set_vm(end.v, "m1", "u1", &fake_vm);
	fake_watch(updates);
	fake_got(&t);
	name = json_string(t.name);
	ck_assert_ptr_nonnull(name);
	ck_assert_uint_gt(strlen(t.name), 120);
	track_copy_free(&t);
	vs_problem(problems, "f", "r", "%.100s", CJK80);
	ck_assert_uint_eq(json_array_size(problems), 1);
	for (int i = 0; i < 3; i++) {
		vs_fail(&err, PCG_ERR_RETRY, "r", "%.*s" CJK80 CJK80 CJK80 CJK80, i, "xx");
		text = json_string(err.text);
		ck_assert_ptr_nonnull(text);
		json_decref(text);
	}
	text = NULL;
}
END_TEST

/* What was read of one machine is nothing that is known of the next. */
START_TEST(a_machine_that_is_found_elsewhere_is_read_anew)
{
	static const char *const updates[] = {
		UPDATE("1", "false", OBJECT("VirtualMachine", "vm-1", CHANGE("config.instanceUuid", "<val>u9</val>")
					    CHANGE("config.extraConfig[\"pcg.cluster\"]", "<val><key>pcg.cluster</key><value>c9</value></val>")
					    CHANGE("runtime.powerState", "<val>poweredOn</val>") CHANGE("guest.ipAddress", "<val>10.9.0.9</val>"))),
		NULL,
	};
	static const struct vs_ref elsewhere = { "VirtualMachine", "vm-2" };
	struct track t;

	track_set_vm(end.v, "m1", "u1", &fake_vm);
	fake_watch(updates);
	for (int i = 0; i < 2; i++) {
		track_set_vm(end.v, "m1", "u1", i ? &elsewhere : &fake_vm);
		fake_got(&t);
		ck_assert_int_eq(t.known, !i);
		ck_assert_str_eq(t.instance, i ? "" : "u9");
		ck_assert_str_eq(t.cluster, i ? "" : "c9");
		ck_assert_uint_eq(json_array_size(t.addresses), i ? 0 : 1);
		track_copy_free(&t);
	}
}
END_TEST

#define PROPERTY(path, val) "<propSet><name>" path "</name>" val "</propSet>"
#define READ_AS(power, rest)                                                                                                \
	HEAD "<RetrievePropertiesExResponse xmlns=\"urn:vim25\"><returnval><objects><obj type=\"VirtualMachine\">vm-1</obj>"    \
	     PROPERTY("runtime.powerState", "<val>" power "</val>") PROPERTY("config.uuid", "<val>b1</val>") rest          \
	     "</objects></returnval></RetrievePropertiesExResponse>" TAIL

#define RUNNING(rest) READ_AS("poweredOn", rest)

static const struct {
	const char *answer, *text;
} silent[] = {
	{ RUNNING(""), "VMware Tools do not run in it" },
	{ RUNNING(PROPERTY("guest.toolsRunningStatus", "<val>guestToolsRunning</val>")), "these tell no address of it" },
	{ RUNNING(PROPERTY("guest.toolsRunningStatus", "<val>guestToolsRunning</val>")
		  PROPERTY("guest.ipAddress", "<val>10.1.1.1</val>")), "no address beside the cluster's endpoint" },
	{ READ_AS("suspended", ""), "is suspended" },
};

/* One step of machine_ensure, as the lifecycle asks: with the last checkpoint. */
static void ensure_m1(void)
{
	AUTO_FREE char *doc = NULL;

	ck_assert_int_gt(asprintf(&doc, "{\"cluster\":{\"uid\":\"c1\",\"spec\":{\"controlPlaneEndpoint\":{\"host\":\"10.1.1.1\"}}},"
				  "\"machine\":{\"uid\":\"m1\",\"name\":\"n1\"}, \"mark\":{}, \"checkpoint\":%s}", end.checkpoint), 0);
	end.class = 0;
	end.pended = false;
	provider->machine_ensure(end.v, NULL, doc);
}

/* By the next worker at once, for since when is kept; and no longer than until it has one. */
START_TEST(a_machine_that_gets_no_address_is_told)
{
	snprintf(end.checkpoint, sizeof(end.checkpoint), "{\"begun\":true}");
	track_set_vm(end.v, "m1", "u1", &fake_vm);
	track_clear_task(end.v, "m1");
	end.objects = silent[_i].answer;
	for (int s = 0; s < 290; s += 10) {
		ensure_m1();
		ck_assert_msg(end.pended && !end.class, "%s", end.text);
		ck_assert_int_eq(strstr(end.checkpoint, "noAddressSince") != NULL, s >= 60);
		end.clock += 10000;
	}
	end.clock += 10000;
	for (int next = 0; next < 2; next++) {
		ensure_m1();
		ck_assert_uint_eq(end.class, PCG_ERR_RETRY);
		ck_assert_msg(strstr(end.text, "machine n1 (vm-1)") && strstr(end.text, silent[_i].text), "%s", end.text);
		track_drop(end.v, "m1");
		track_set_vm(end.v, "m1", "u1", &fake_vm);
	}
	end.objects = RUNNING(PROPERTY("guest.ipAddress", "<val>10.1.1.7</val>"));
	ensure_m1();
	ck_assert(end.is_done && !end.class);
}
END_TEST

/* It may wait for somebody. */
START_TEST(a_power_on_that_does_not_end_is_told)
{
	snprintf(end.checkpoint, sizeof(end.checkpoint), "{\"begun\":true}");
	track_set_vm(end.v, "m1", "u1", &fake_vm);
	track_set_task(end.v, "m1", "u1", TASK_ON, &fake_task, NULL, 1000);
	end.objects = READ_AS("poweredOff", "</objects><objects><obj type=\"Task\">task-1</obj>" PROPERTY("info.state", "<val>running</val>"));
	for (int s = 0; s < 130; s += 10) {
		ensure_m1();
		ck_assert_msg(s < 120 ? end.pended && !end.class : end.class == PCG_ERR_RETRY, "%d: %s", s, end.text);
		end.clock += 10000;
	}
	ck_assert_msg(strstr(end.text, "machine n1 (vm-1): the task that powers it on, task-1, does not end") != NULL, "%s", end.text);
	ck_assert_ptr_null(strstr(end.calls, "PowerOnVM_Task"));
	end.objects = RUNNING(PROPERTY("guest.ipAddress", "<val>10.1.1.7</val>"));
	ensure_m1();
	ck_assert_msg(end.is_done && !end.class, "%s", end.text);
}
END_TEST

/* vCenter does not power it off. */
START_TEST(a_machine_that_somebody_suspended_is_removed)
{
	static const char doc[] = "{\"cluster\":{\"uid\":\"c1\",\"spec\":{}}, \"machine\":{\"uid\":\"m1\", \"name\":\"n1\"}, \"mark\":{}}";
	void (*op)(void *, struct pcg_call *, const char *) = _i ? provider->machine_power_off : provider->machine_delete;

	track_set_vm(end.v, "m1", "u1", &fake_vm);
	track_clear_task(end.v, "m1");
	end.refused = "PowerOffVM_Task";
	end.objects = READ_AS("suspended", PROPERTY("summary.config.numVirtualDisks", "<val>1</val>"));
	for (int i = 0; i < 4 && !end.is_done && !strstr(end.calls, "Destroy_Task"); i++) {
		op(end.v, NULL, doc);
		ck_assert_msg(!end.class, "%s", end.text);
		end.clock += 10000;
	}
	ck_assert_ptr_nonnull(strstr(end.calls, "PowerOffVM_Task"));
	ck_assert(_i ? end.is_done : strstr(end.calls, "Destroy_Task") != NULL);
	if (_i)
		return;
	/* If that is refused, too, it is told. */
	track_clear_task(end.v, "m1");
	end.refused = "Destroy_Task";
	op(end.v, NULL, doc);
	ck_assert_uint_eq(end.class, PCG_ERR_RETRY);
	ck_assert_msg(strstr(end.text, "machine n1 (vm-1) is suspended") != NULL, "%s", end.text);
}
END_TEST

/* Somebody removes it each time, as soon as it is there. */
START_TEST(a_machine_that_is_removed_each_time_is_not_cloned_in_a_hurry)
{
	static const char doc[] = "{\"cluster\":{\"uid\":\"c1\",\"spec\":{}}, \"machine\":{\"uid\":\"m1\", \"name\":\"n1\"},"
				  "\"mark\":{}, \"checkpoint\":{\"task\":\"task-1\", \"folder\":\"group-v1\"}}";
	struct vs_err err = { .text = "" };

	for (int i = 0; i < 3; i++) {
		ck_assert(!clone_limit_held(end.v->clones, "m1", fake_services.mono_ms(NULL), &err));
		track_set_task(end.v, "m1", "u1", TASK_DESTROY, &fake_task, &fake_folder, 5000);
		fake_watch((const char *const[]){ UPDATE("1", "false", OBJECT("Task", "task-1", CHANGE("info.state", "<val>success</val>"))), NULL });
		end.ended = false;
		end.next = end.waits = 0;
		end.v->tracks->view.made = false;
		provider->machine_ensure(end.v, NULL, doc);
		ck_assert(end.pended);
		ck_assert_int_eq(clone_limit_held(end.v->clones, "m1", fake_services.mono_ms(NULL), &err), i > 0);
		end.clock += 60000;
	}
	ck_assert_msg(strstr(err.text, "removed by somebody before it was handed over") && *err.remedy, "%s", err.text);
}
END_TEST

/* Clones that are on their way: whose answer comes after a second, or never. */
static struct clone_limit *sending;

static void taken_in_a_second(void)
{
	if (end.clock >= 1000 && clone_limit_sending(sending))
		clone_limit_sent(sending, NULL, 2000);
}

static uint64_t called_at;

static void first_call(const char *method)
{
	called_at = called_at ? called_at : end.clock;
}

START_TEST(waits_once_the_clones_that_are_on_their_way_have_been_taken)
{
	static const char *const updates[] = { UPDATE("1", "false", ""), NULL };
	static const char *const before_the_view = "RetrieveServiceContent ";

	called_at = 0;
	sending = end.v->clones;
	ck_assert(clone_limit_enter(sending, "m2", 0, 1000));
	end.on_wait = _i ? NULL : taken_in_a_second;
	end.on_call = first_call;
	fake_watch(updates);
	ck_assert_int_eq(strncmp(end.calls, before_the_view, strlen(before_the_view)), 0);
	ck_assert_uint_ge(called_at, _i ? 15000 : 1000);
	ck_assert_uint_le(called_at, _i ? 15100 : 1100);
	ck_assert_ptr_null(strstr(end.calls, "ModifyListView"));
	if (_i)
		clone_limit_sent(sending, NULL, 2000);
}
END_TEST

static const struct vs_ref task_2 = { "Task", "task-2" }, folder_2 = { "Folder", "group-v2" };
static const struct vs_ref task_3 = { "Task", "task-3" }, folder_3 = { "Folder", "group-v3" };

static void others_begin(const char *method)
{
	if (strcmp(method, "CreateFilter") == 0)
		track_set_task(end.v, "m2", "u2", TASK_CLONE, &task_2, &folder_2, 5000);
	if (strcmp(method, "ModifyListView") == 0)
		track_set_task(end.v, "m3", "u3", TASK_CLONE, &task_3, &folder_3, 5000);
}

/* The view takes up what there is once; then ops tell it, while the wait goes on. */
START_TEST(what_begins_while_the_view_is_made_does_not_keep_the_wait_from_beginning)
{
	static const char *const updates[] = { NULL };

	end.on_call = others_begin;
	fake_watch(updates);
	ck_assert_ptr_nonnull(strstr(end.calls, "CreateListView CreateFilter ModifyListView WaitForUpdatesEx "));
	ck_assert_ptr_nonnull(strstr(end.hints, "m3 ")); /* m1: that answer names its task */
	end.ended = false;
	end.on_call = NULL;
	watch_sync(end.v, NULL);
	ck_assert_ptr_nonnull(strstr(end.calls, "CancelWaitForUpdates ModifyListView "));
	ck_assert(!track_uncovered(end.v, end.hints));
}
END_TEST

static void cut_short(const char *method)
{
	if (strcmp(method, "WaitForUpdatesEx") == 0 && end.waits == 0)
		track_set_task(end.v, "m2", "u2", TASK_CLONE, &task_2, &folder_2, 5000);
}

/* Whose op ended before it had told the view: the next wait sees it all the same. */
START_TEST(what_no_op_has_told_the_view_is_seen_by_the_next_wait)
{
	static const char *const updates[] = { UPDATE("1", "false", OBJECT("VirtualMachine", "vm-9", CHANGE("name", "<val>x</val>"))), NULL };

	end.on_call = cut_short;
	fake_watch(updates);
	ck_assert_ptr_nonnull(strstr(end.calls, "WaitForUpdatesEx ModifyListView WaitForUpdatesEx "));
	ck_assert(!track_uncovered(end.v, end.hints));
}
END_TEST

#define CLONES(reason)                                                                                                 \
	HEAD "<RetrievePropertiesExResponse xmlns=\"urn:vim25\"><returnval><objects><obj type=\"Task\">task-9</obj><propSet><name>info.state"   \
	     "</name><val>running</val></propSet><propSet><name>info.descriptionId</name><val>VirtualMachine.clone</val></propSet>" reason   \
	     "</objects></returnval></RetrievePropertiesExResponse>" TAIL
#define REASON(type, user)                                                                                             \
	"<propSet><name>info.reason</name><val xsi:type=\"" type "\"><userName>" user "</userName></val></propSet>"

/* The account's user is "u". */
static const struct {
	const char *answer;
	bool ours;
} begun_by[] = {
	{ CLONES(""), true }, { CLONES(REASON("TaskReasonUser", "VSPHERE.LOCAL\\U")), true }, { CLONES(REASON("TaskReasonUser", "u@x")), true },
	{ CLONES(REASON("TaskReasonUser", "VSPHERE.LOCAL\\uu")), false }, { CLONES(REASON("TaskReasonUser", "")), false },
	{ CLONES("<propSet><name>info.reason</name><val xsi:type=\"TaskReasonSchedule\"><name>x</name></val></propSet>"), false },
};

/* A machine that was never seen: a clone that may make it is waited for, and told when that takes long; another's is not. */
START_TEST(a_delete_waits_for_no_clone_of_somebody_else)
{
	static const char now[] = "{\"cluster\":{\"uid\":\"c1\"}, \"machine\":{\"uid\":\"m9\", \"name\":\"n9\"}, \"mark\":{}}";
	static const char later[] = "{\"cluster\":{\"uid\":\"c1\"}, \"machine\":{\"uid\":\"m9\", \"name\":\"n9\"}, \"mark\":{}, "
				    "\"checkpoint\":{\"begun\":true, \"clones\":[\"task-9\"], \"since\":1}}";

	end.objects = begun_by[_i].answer;
	provider->machine_delete(end.v, NULL, now);
	ck_assert_int_eq(end.pended, begun_by[_i].ours);
	ck_assert_int_eq(end.is_done, !begun_by[_i].ours);
	if (!begun_by[_i].ours)
		return;
	end.pended = false;
	provider->machine_delete(end.v, NULL, later);
	ck_assert(!end.pended);
	ck_assert_uint_eq(end.class, PCG_ERR_RETRY);
	ck_assert_msg(strstr(end.text, "machine n9: ") && strstr(end.text, "task-9"), "%s", end.text);
	/* It is another machine's: no wait. */
	track_set_task(end.v, "m8", "u8", TASK_CLONE, &(struct vs_ref){ "Task", "task-9" }, &fake_folder, 5000);
	provider->machine_delete(end.v, NULL, now);
	ck_assert(end.is_done);
}
END_TEST

START_TEST(begins_anew_with_no_version_when_its_own_is_not_known)
{
	static const char *const faults[] = { FAULT("InvalidCollectorVersion"), FAULT("NotAuthenticated"),
					      FAULT("ManagedObjectNotFound") };
	const char *const updates[] = { UPDATE("7", "false", ""), faults[_i], UPDATE("1", "false", ""), NULL };

	fake_watch(updates);
	ck_assert_uint_eq(end.waits, 4);
	ck_assert_str_eq(end.versions[1], "7");
	ck_assert_str_eq(end.versions[2], "");
	ck_assert_str_eq(end.versions[3], "1");
	/* In the same session the old ones would tell everything a second time. */
	ck_assert_int_eq(strstr(end.calls, "DestroyPropertyFilter DestroyView ") != NULL, _i != 1);
	ck_assert_int_eq(strstr(strstr(end.calls, "Login ") + 1, "Login ") != NULL, _i == 1);
	ck_assert_uint_eq(end.class, PCG_ERR_CANCELLED);
}
END_TEST

/* The server holds each one that was made until the session ends; the session's own is used by everything else. */
START_TEST(a_collector_that_it_made_goes_with_the_next)
{
	static const char lost[] = FAULT("InvalidCollectorVersion");
	static const char *const updates[] = { UPDATE("7", "false", ""), lost, UPDATE("1", "false", ""), lost, UPDATE("2", "false", ""), lost,
					       UPDATE("3", "false", ""), FAULT("NotAuthenticated"), UPDATE("4", "false", ""), NULL };

	fake_watch(updates);
	ck_assert_uint_eq(end.collectors, 3);
	ck_assert_str_eq(end.destroyed, "pc-2 pc-3 ");
}
END_TEST

START_TEST(ends_when_it_is_lost_again_and_again)
{
	static const char *const updates[] = { FAULT("InvalidCollectorVersion"), FAULT("InvalidCollectorVersion"),
					       FAULT("InvalidCollectorVersion"), UPDATE("1", "false", ""), NULL };

	fake_watch(updates);
	ck_assert_uint_eq(end.waits, 3);
	ck_assert_uint_eq(end.class, PCG_ERR_RETRY);
	ck_assert_ptr_nonnull(strstr(end.text, "InvalidCollectorVersion"));
}
END_TEST

/* The property collector answers 200 without a session too. */
START_TEST(takes_nothing_for_a_change_when_the_session_is_over)
{
	static const char *const updates[] = {
		UPDATE("3", "false", OBJECT("VirtualMachine", "vm-1", MISSING("runtime.powerState", "NotAuthenticated"))),
		UPDATE("1", "false", ""),
		NULL,
	};
	struct track t;

	track_set_vm(end.v, "m1", "u1", &fake_vm);
	fake_watch(updates);
	ck_assert_uint_eq(end.waits, 3);
	ck_assert_str_eq(end.versions[1], "");
	fake_got(&t);
	ck_assert(!t.known);
	track_copy_free(&t);
}
END_TEST

START_TEST(looks_for_what_the_server_does_not_know)
{
	static const char *const updates[] = {
		UPDATE("3", "false", "<missingSet><obj type=\"VirtualMachine\">vm-1</obj><fault><fault xsi:type=\"ManagedObjectNotFound\"/>"
				     "</fault></missingSet>"),
		NULL,
	};
	struct track t;

	track_set_vm(end.v, "m1", "u1", &fake_vm);
	fake_watch(updates);
	ck_assert_str_eq(end.hints, "m1 ");
	fake_got(&t);
	ck_assert(!t.gone);
	ck_assert_uint_eq(t.next_poll, 0);
	track_copy_free(&t);
}
END_TEST

START_TEST(makes_a_view_though_something_of_it_has_gone)
{
	static const char *const updates[] = { UPDATE("1", "false", ""), NULL };

	end.list_refused = true;
	fake_watch(updates);
	ck_assert_ptr_nonnull(strstr(end.calls, "CreateListView CreateListView CreateFilter ModifyListView WaitForUpdatesEx "));
	/* The answer says which it was: it is looked at. */
	ck_assert_str_eq(end.hints, "m1 ");
	ck_assert_uint_eq(end.waits, 2);
}
END_TEST

START_TEST(says_what_the_user_may_not_read)
{
	static const char *const updates[] = {
		UPDATE("3", "false", OBJECT("VirtualMachine", "vm-1", MISSING("runtime.powerState", "NoPermission"))),
		NULL,
	};
	struct vs_err err;

	track_set_vm(end.v, "m1", "u1", &fake_vm);
	track_set_task(end.v, "m1", "u1", TASK_ON, &fake_task, NULL, 5000);
	fake_watch(updates);
	ck_assert_int_eq(track_poll_due(end.v, NULL, "m1", &err), -1);
	ck_assert_uint_eq(err.class, PCG_ERR_AUTH);
	ck_assert_ptr_nonnull(strstr(err.text, "runtime.powerState"));
}
END_TEST

int main(void)
{
	Suite *s = suite_create("vsphere watch");
	TCase *tc = tcase_create("watch");
	SRunner *r;
	int failed;

	tcase_add_checked_fixture(tc, fake_setup, fake_teardown);
	tcase_add_test(tc, asks_for_the_rest_of_a_truncated_update_at_once);
	tcase_add_loop_test(tc, an_answer_without_news_is_not_asked_for_in_a_hurry, 0, ARRAY_LEN(nothings));
	tcase_add_test(tc, news_under_one_version_are_waited_for_at_once);
	tcase_add_loop_test(tc, waits_for_nothing_that_has_no_name, 0, 4);
	tcase_add_loop_test(tc, a_clone_that_names_no_machine_is_looked_for_by_its_uuid, 0, 2 * ARRAY_LEN(results));
	tcase_add_test(tc, what_is_cut_to_fit_is_still_a_text);
	tcase_add_test(tc, a_machine_that_is_found_elsewhere_is_read_anew);
	tcase_add_test(tc, a_machine_that_is_removed_each_time_is_not_cloned_in_a_hurry);
	tcase_add_test(tc, a_power_on_that_does_not_end_is_told);
	tcase_add_loop_test(tc, a_machine_that_somebody_suspended_is_removed, 0, 2);
	tcase_add_loop_test(tc, a_machine_that_gets_no_address_is_told, 0, ARRAY_LEN(silent));
	tcase_add_loop_test(tc, waits_once_the_clones_that_are_on_their_way_have_been_taken, 0, 2);
	tcase_add_test(tc, what_begins_while_the_view_is_made_does_not_keep_the_wait_from_beginning);
	tcase_add_test(tc, what_no_op_has_told_the_view_is_seen_by_the_next_wait);
	tcase_add_loop_test(tc, a_delete_waits_for_no_clone_of_somebody_else, 0, ARRAY_LEN(begun_by));
	tcase_add_loop_test(tc, begins_anew_with_no_version_when_its_own_is_not_known, 0, 3);
	tcase_add_test(tc, a_collector_that_it_made_goes_with_the_next);
	tcase_add_test(tc, ends_when_it_is_lost_again_and_again);
	tcase_add_test(tc, takes_nothing_for_a_change_when_the_session_is_over);
	tcase_add_test(tc, looks_for_what_the_server_does_not_know);
	tcase_add_test(tc, makes_a_view_though_something_of_it_has_gone);
	tcase_add_test(tc, says_what_the_user_may_not_read);
	pace_cases(tc);
	address_cases(tc);
	suite_add_tcase(s, tc);
	r = srunner_create(s);
	srunner_run_all(r, CK_NORMAL);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? 1 : 0;
}
