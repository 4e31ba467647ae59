/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PLUGINS_VSPHERE_PICKLIST_H
#define PLUGINS_VSPHERE_PICKLIST_H

/*
 * Lists to choose from, page by page: the server's own pages where it has them (property collector), else ids that
 * are looked up as they are asked for. What is held between two pages is the folders above the objects and the
 * server's token, whatever the number of objects. At most PICK_OPEN lists are open; the one that was not asked for the longest goes first.
 *
 * picklist.c: the op and the open lists; picklist_read.c: kinds of the inventory; picklist_tree.c: what is above them;
 * picklist_other.c: tags, content libraries, storage policies.
 */

#include "plugins/vsphere/vsphere.h"

#define PICK_OPEN 4
#define PICK_LIMIT 200   /* objects of a page when the caller says nothing */
#define PICK_LIMIT_MAX 1000
#define PICK_OBJECTS 250 /* of one page of the server, at most */
#define PICK_IDLE_MS 120000u

struct pick_place {
	char *id, *parent, *name, *kind; /* kind: as the server calls it, "ClusterComputeResource" */
	char type;       /* 'D' datacenter, 'C' compute cluster, 'F' folder, 'P' resource pool, 'S' datastore cluster */
};

struct pick_tree {
	struct pick_place *places; /* by id */
	size_t n, room;
};

struct pick_list;

struct pick_kind {
	const char *name, *doc;
	const char *filters[4];    /* beside "name" */
	const char *types[3];      /* of the inventory; NULL: none of it */
	const char *props[6];      /* beside name and parent */
	const char *of_cluster;    /* property of a compute cluster that has the objects; NULL: a view below it has them */
	/* The item, or NULL: this object is none. */
	json_t *(*item)(const struct pick_list *l, const struct xn *object);
	/* For what is not in the inventory: fills l->ids; then one item of it (NULL: skip it, unless err says otherwise). */
	int (*begin)(struct vsphere *v, struct pcg_call *call, struct pick_list *l, struct vs_err *err);
	int (*look)(struct vsphere *v, struct pcg_call *call, struct pick_list *l, const json_t *id, json_t **item,
		    struct vs_err *err);
};

struct pick_list {
	char id[17];                /* "" when the place is free */
	bool busy;
	uint64_t used_at;           /* monotonic */
	unsigned page;              /* that comes next */
	const struct pick_kind *kind;
	json_t *filter;
	json_t *last;               /* what the page before answered: its reply may have been lost */
	bool ended;                 /* that was its last page: nothing of it is open on the server */
	/* of the inventory */
	struct pick_tree tree;
	struct vs_ref view, within; /* within: what the filter names, "" for all */
	char within_type;
	unsigned generation;
	char token[VS_TOKEN];
	bool read;                  /* the first page was asked for */
	unsigned max_objects;
	/* of the others */
	json_t *ids, *groups;       /* groups: id -> name */
	size_t at;
};

struct picks {
	pthread_mutex_t lock;
	struct pick_list open[PICK_OPEN];
};

extern const struct pick_kind pick_kinds[];  /* ends with a name of NULL */
const struct pick_kind *pick_kind(const char *name);

/* picklist_tree.c */
int pick_tree_read(struct vsphere *v, struct pcg_call *call, bool pools, struct pick_tree *tree, struct vs_err *err);
void pick_tree_free(struct pick_tree *tree);
const struct pick_place *pick_tree_at(const struct pick_tree *tree, const char *id);
/* Inventory path of an object of that name below parent (an id); caller frees. */
char *pick_tree_path(const struct pick_tree *tree, const char *parent, const char *name);
/* The place of that type that given names (name, path or managed id), below the place within (NULL: anywhere). NULL with err. */
const struct pick_place *pick_tree_find(const struct pick_tree *tree, char type, const char *what, const char *given,
					const struct pick_place *within, struct vs_err *err);

/* picklist_read.c: one page of an inventory's kind is added to items. l->token is "" after the last. */
int pick_read_begin(struct vsphere *v, struct pcg_call *call, struct pick_list *l, struct vs_err *err);
int pick_read(struct vsphere *v, struct pcg_call *call, struct pick_list *l, json_t *items, struct vs_err *err);
void pick_read_end(struct vsphere *v, struct pcg_call *call, struct pick_list *l);
json_t *pick_item_named(const struct pick_list *l, const struct xn *object, const char *type);
bool pick_wanted(const struct pick_list *l, const char *name);

/* picklist_other.c */
int pick_tags_begin(struct vsphere *v, struct pcg_call *call, struct pick_list *l, struct vs_err *err);
int pick_tags_look(struct vsphere *v, struct pcg_call *call, struct pick_list *l, const json_t *id, json_t **item,
		   struct vs_err *err);
int pick_library_begin(struct vsphere *v, struct pcg_call *call, struct pick_list *l, struct vs_err *err);
int pick_library_look(struct vsphere *v, struct pcg_call *call, struct pick_list *l, const json_t *id, json_t **item,
		      struct vs_err *err);
int pick_policies_begin(struct vsphere *v, struct pcg_call *call, struct pick_list *l, struct vs_err *err);
int pick_policies_look(struct vsphere *v, struct pcg_call *call, struct pick_list *l, const json_t *id, json_t **item,
		       struct vs_err *err);

struct picks *picks_new(void);
void picks_free(struct picks *picks);

#endif
