/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PLUGINS_VSPHERE_CHECK_H
#define PLUGINS_VSPHERE_CHECK_H

/*
 * What a vCenter can be asked before anything is made: its version and clock, what the role may do on each object, and
 * whether template, datastore, network and compute cluster do for the machines that are asked for. Everything that is
 * wrong is added to problems, {"field","text","remedy"}; what works and deserves a look to warnings, texts. Warnings may be NULL.
 */

#include "plugins/vsphere/vsphere.h"

/* What the machines need beside the plain case; each asks for privileges of its own. */
#define CHECK_TAGS 1u        /* tags on machines */
#define CHECK_POLICY 2u      /* a storage policy */
#define CHECK_LIBRARY 4u     /* a content library's item */
#define CHECK_RULES 8u       /* a rule that keeps control planes apart */
#define CHECK_ATTRIBUTES 16u /* custom attributes */
#define CHECK_UPGRADE 32u    /* a newer hardware version than the template's */
#define CHECK_LINKED 64u     /* linked clones: disks take what is written alone */
#define CHECK_SNAPSHOT 128u  /* the template needs one */
#define CHECK_ENCRYPTED 256u /* the template is encrypted, or has a virtual TPM, which is found by check_objects() */

enum check_kind { CHECK_ROOT, CHECK_FOLDER, CHECK_TEMPLATE, CHECK_POOL, CHECK_CLUSTER, CHECK_DATASTORE, CHECK_NETWORK };

/* An object that machines go to, or come from. */
struct check_entity {
	enum check_kind kind;
	struct vs_ref ref;
	const char *path;    /* as people know it */
	const char *field;   /* of the request */
	bool plain_machine;  /* CHECK_TEMPLATE: it is none, but a machine to be cloned */
};

void check_warn(json_t *warnings, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* The account's own members. False: there is nothing to log in with. */
bool check_spec(const json_t *spec, json_t *problems, json_t *warnings);
extern const char vs_settings[]; /* the table of settings, as the host wants it */
/* release as in "8.0.3". */
void check_release(const char *release, const char *full_name, json_t *problems, json_t *warnings);
/* The vCenter's clock against this machine's. -1 with err when it was not told. */
int check_clock(struct vs_session *ss, struct pcg_call *call, json_t *problems, json_t *warnings, struct vs_err *err);
/* What the role lacks, object by object. All of them are asked in one call. */
int check_privileges(struct vs_session *ss, struct pcg_call *call, const struct check_entity *e, size_t n, unsigned uses,
		     json_t *problems, json_t *warnings, struct vs_err *err);

struct check_sizes {
	json_int_t disk_gib;  /* of all machines that go there together; 0: not known */
	json_int_t machines;
};
/* The objects themselves, in one call. What they need is added to uses. */
int check_objects(struct vs_session *ss, struct pcg_call *call, const struct check_entity *e, size_t n, unsigned *uses,
		  const struct check_sizes *sizes, json_t *problems, json_t *warnings, struct vs_err *err);

struct spot;
struct checks *checks_new(void);
void checks_free(struct checks *c);
/* All of that for the machines of one pool (NULL: none) at a place that was found. What was good is not asked again for a
 * minute. */
int check_spot(struct vsphere *v, struct pcg_call *call, const json_t *cluster, const json_t *pool, const struct spot *spot,
	       json_t *problems, struct vs_err *err);

#endif
