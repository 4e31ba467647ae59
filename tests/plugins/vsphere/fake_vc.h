/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_PLUGINS_VSPHERE_FAKE_VC_H
#define TESTS_PLUGINS_VSPHERE_FAKE_VC_H

#include "plugins/vsphere/track_impl.h"

#include "core/attr.h"
#include "core/json.h"

#include <check.h>

/* The provider between services that hand out answers one after the other, as the API's documentation gives them, and a clock that
 * only pauses move. One thread. */

#define HEAD                                                                                                           \
	"<Envelope xmlns=\"http://schemas.xmlsoap.org/soap/envelope/\" xmlns:xsi=\"http://www.w3.org/2001/XMLSchema-instance\"><Body>"
#define TAIL "</Body></Envelope>"
#define UPDATE(version, truncated, filter)                                                                             \
	HEAD "<WaitForUpdatesExResponse xmlns=\"urn:vim25\"><returnval><version>" version "</version><filterSet>"      \
	     "<filter type=\"PropertyFilter\">f-1</filter>" filter "</filterSet><truncated>" truncated                 \
	     "</truncated></returnval></WaitForUpdatesExResponse>" TAIL
#define OBJECT(type, id, rest) "<objectSet><kind>modify</kind><obj type=\"" type "\">" id "</obj>" rest "</objectSet>"
#define CHANGE(path, val) "<changeSet><name>" path "</name><op>assign</op>" val "</changeSet>"
#define MISSING(path, fault)                                                                                           \
	"<missingSet><path>" path "</path><fault><fault xsi:type=\"" fault "\"/><localizedMessage/></fault></missingSet>"
#define FAULT(type) HEAD "<Fault><faultcode>x</faultcode><detail><x xmlns=\"urn:vim25\" xsi:type=\"" type "\"/></detail></Fault>" TAIL


extern struct fake_vc {
	struct vsphere *v;
	const char *const *updates; /* answers to waits; NULL behind the last: the watch is ended */
	size_t next;
	char versions[128][32];
	size_t waits, pauses;  /* calls of WaitForUpdatesEx; pauses of the watch since the last of them */
	size_t pauses_before[128];
	char calls[2048];      /* methods, each with a blank behind it */
	char hints[256], events[256], kept[1024];
	unsigned collectors;   /* made beside the session's own; and which of all were destroyed, each with a blank behind it */
	char destroyed[128];
	bool list_refused;     /* a view of something that is gone */
	const char *nameless;  /* a method whose answer names no object, */
	bool absent;           /* or has none */
	const char *refused;   /* a method that is answered InvalidPowerState */
	int away;              /* so many calls are not answered */
	uint64_t clock;        /* ms that pauses took */
	void (*on_wait)(void);    /* in each pause */
	void (*on_call)(const char *method); /* before each call */
	bool ended;
	uint32_t class;
	char text[512];
	bool pended, is_done;
	char checkpoint[256];  /* of the last answer that had one */
	const char *objects;   /* of RetrievePropertiesEx, NULL: none */
	const char *found;     /* by uuid; NULL: none */
} end;

extern const struct pcg_services fake_services;
extern const struct vs_ref fake_vm, fake_task, fake_folder;
extern const struct pcg_provider *provider;

/* With machine m1, whose clone is waited for. */
void fake_setup(void);
void fake_teardown(void);
/* Runs the watch until the updates, NULL behind the last, are used up. */
void fake_watch(const char *const *updates);
/* What is known of m1. */
void fake_got(struct track *t);

/* Tests of other files, with that fixture. */
void pace_cases(TCase *tc);
void address_cases(TCase *tc);

#endif
