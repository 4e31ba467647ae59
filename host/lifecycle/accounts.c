/* SPDX-License-Identifier: Apache-2.0 */
/* Cloud accounts, as the plane gave them. One that a cluster still needs stays known after its removal in the plane: a delete
 * must not be blocked by it. It goes with the last of them, in the same transaction. */
#include "config.h"

#include "host/lifecycle/cluster.h"

#include "core/log.h"

#include <string.h>

void lifecycle_load_account(struct lifecycle *l, json_t *document)
{
	json_object_set(l->accounts, json_str_or(document, "uid", ""), document);
	provider_account_set(l->spec.providers, document);
}

static bool account_in_use(const struct lifecycle *l, const char *account)
{
	for (size_t i = 0; i < ARRAY_LEN(l->buckets); i++)
		for (const struct cluster *c = l->buckets[i]; c; c = c->next)
			if (c->lc.phase != LC_DELETED && !strcmp(c->account, account))
				return true;
	return false;
}

/* Of an account's document, in the store too. */
#define REMOVED "removed"

static bool account_removed(const json_t *account)
{
	return json_bool_or(account, REMOVED, false);
}

void lifecycle_drop_accounts(struct lifecycle *l, struct store_batch *b)
{
	json_t *account;
	const char *uid;
	void *next;

	json_object_foreach_safe(l->accounts, next, uid, account) {
		if (!account_removed(account) || account_in_use(l, uid))
			continue;
		log_info("account_dropped", LS("account", uid));
		store_remove_account(b, uid);
		provider_account_remove(l->spec.providers, uid);
		l->spec.account_dropped(l->spec.arg, uid);
		json_object_del(l->accounts, uid);
	}
}

void lifecycle_take_account(struct lifecycle *l, const json_t *item, struct store_batch *b)
{
	const char *uid = json_str_or(item, "uid", "");
	json_t *doc = json_object_get(item, "document"), *account = json_object_get(l->accounts, uid);
	int64_t known = json_int_or(account, "generation", -1);

	if (json_is_null(doc) && account) {
		account = json_copy(account);
		json_object_set_new(account, REMOVED, json_true());
		store_put_account(b, uid, known, account);
		json_object_set_new(l->accounts, uid, account);
		return;
	}
	if (!json_is_object(doc) || json_int_or(item, "generation", 0) < known)
		return;
	if (!json_str(doc, "uid") || !json_str(doc, "provider")) {
		log_error("instruction_unreadable", LS("kind", "account"), LS("uid", uid));
		return;
	}
	store_put_account(b, uid, json_int_or(item, "generation", 0), doc);
	json_object_set(l->accounts, uid, doc);
}

bool lifecycle_has_account(const struct lifecycle *l, const char *uid)
{
	return json_object_get(l->accounts, uid) != NULL;
}

json_t *lifecycle_insecure_accounts(struct lifecycle *l)
{
	json_t *list = json_array(), *doc;
	const char *uid;

	json_object_foreach(l->accounts, uid, doc)
		if (json_bool_or(doc, "spec.insecure", false) &&
		    !*json_str_or(doc, "spec.thumbprint", ""))
			json_array_append_new(list, json_string(json_str_or(doc, "name", uid)));
	return list;
}
