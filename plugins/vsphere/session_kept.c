/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "plugins/vsphere/session_impl.h"

#include <assert.h>
#include <ctype.h>
#include <openssl/evp.h>
#include <openssl/rand.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/*
 * What outlives the worker: the session's cookie, the agents of logins whose end is not known, and
 * refused passwords (session_refused.c).
 */

#define SECRET_NAME "vsphere.session"
#define SECRET_VALIDATION "vsphere.validation."
#define TURN_NAME "vsphere.login."
#define DIGEST_ROUNDS 1000

static const struct {
	const char *name, *type;
	size_t at;
	bool fixed; /* the same on every vCenter */
} content_refs[] = {
	{ "sessionManager", "SessionManager", offsetof(struct vs_session, session_manager), false },
	{ "propertyCollector", "PropertyCollector", offsetof(struct vs_session, collector), false },
	{ "searchIndex", "SearchIndex", offsetof(struct vs_session, search), false },
	{ "viewManager", "ViewManager", offsetof(struct vs_session, views), false },
	{ "rootFolder", "Folder", offsetof(struct vs_session, root), false },
	{ "taskManager", "TaskManager", offsetof(struct vs_session, tasks), false },
	{ "authorizationManager", "AuthorizationManager", offsetof(struct vs_session, authorization), true },
	{ "customFieldsManager", "CustomFieldsManager", offsetof(struct vs_session, fields), true },
};

#define N_CONTENT (sizeof(content_refs) / sizeof(content_refs[0]))

static struct vs_ref *content_ref(struct vs_session *ss, size_t i)
{
	return (struct vs_ref *)(void *)((char *)ss + content_refs[i].at);
}

bool vs_content_read(struct vs_session *ss, const struct xn *content)
{
	const struct xn *about = xn_child(content, "about");
	bool whole = true;

	for (size_t i = 0; i < N_CONTENT; i++) {
		struct vs_ref *ref = content_ref(ss, i);

		if (xn_ref(xn_child(content, content_refs[i].name), ref))
			continue;
		whole = whole && content_refs[i].fixed;
		snprintf(ref->type, sizeof(ref->type), "%s", content_refs[i].type);
		snprintf(ref->value, sizeof(ref->value), "%s", content_refs[i].fixed ? content_refs[i].type : "");
	}
	snprintf(ss->version, sizeof(ss->version), "%s", xn_get(about, "fullName"));
	snprintf(ss->release, sizeof(ss->release), "%s", xn_get(about, "version"));
	vs_utf8(ss->version);
	vs_utf8(ss->release);
	return whole;
}

static void hex(char *out, const unsigned char *bytes, size_t n)
{
	for (size_t i = 0; i < n; i++)
		snprintf(out + 2 * i, 3, "%02x", bytes[i]);
}

/* Tells the vCenter and the user to nobody who does not know them. vCenter knows a user in any case, so there is one name for all. */
static void name_after(const struct vs_session *ss, const char *prefix, char out[64])
{
	unsigned char digest[EVP_MAX_MD_SIZE];
	unsigned int len = 0;
	char *text;
	int n = asprintf(&text, "%s\n%s", ss->server, ss->user);

	for (char *c = text; n > 0 && *c; c++)
		*c = (char)tolower((unsigned char)*c);
	assert(n > 0 && EVP_Digest(text, (size_t)n, digest, &len, EVP_sha256(), NULL) == 1 && len >= 16);
	free(text);
	n = snprintf(out, 64, "%s", prefix);
	hex(out + n, digest, 16);
}

/* Tells one password from another, to who has the salt. Of a validation, whose secrets are not the account's alone, only
 * two bytes: they fit one password of 65,536, so that they prove none. */
static void credential(struct vs_session *ss)
{
	unsigned char digest[8];
	char *salt;
	int n = asprintf(&salt, "%s%s\n%s", ss->salt, ss->server, ss->user);

	assert(n > 0 && PKCS5_PBKDF2_HMAC(ss->password, (int)strlen(ss->password), (unsigned char *)salt, n, DIGEST_ROUNDS,
					  EVP_sha256(), sizeof(digest), digest) == 1);
	free(salt);
	hex(ss->credential, digest, ss->keep ? sizeof(digest) : 2);
}

/* That of what is kept: none where a gateway of before kept it. False: nothing is. */
static bool salt_kept(struct vs_session *ss, const char *secret)
{
	const char *text = ss->svc->secret_get(ss->host, secret);
	json_t *doc = text ? json_loads(text, 0, NULL) : NULL;

	if (!doc)
		return false;
	snprintf(ss->salt, sizeof(ss->salt), "%s", json_string_value(json_object_get(doc, "salt")) ?: "");
	json_decref(doc);
	return true;
}

/* A new one when nothing is kept: the same password is another thing then. */
static void salt_of(struct vs_session *ss)
{
	unsigned char random[16];

	if (salt_kept(ss, ss->secret) || (ss->keep && salt_kept(ss, VS_REST_SECRET)))
		return;
	assert(RAND_bytes(random, sizeof(random)) == 1);
	hex(ss->salt, random, sizeof(random));
}

void vs_kept_name(struct vs_session *ss)
{
	snprintf(ss->secret, sizeof(ss->secret), SECRET_NAME);
	if (!ss->keep) /* workers of validations share their secrets */
		name_after(ss, SECRET_VALIDATION, ss->secret);
	name_after(ss, TURN_NAME, ss->turn);
	salt_of(ss);
	credential(ss);
}

void vs_content_keep(struct vs_session *ss)
{
	json_t *doc = json_object();
	char *text;

	json_object_set_new(doc, "refused", vs_refused_doc(ss));
	if (json_array_size(ss->lost))
		json_object_set(doc, "lost", ss->lost);
	if (ss->keep && ss->cookie) {
		json_t *session = json_pack("{s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:s}", "server", ss->server, "user", ss->user,
					    "cookie", ss->cookie, "key", ss->key, "credential", ss->credential, "version", ss->version,
					    "release", ss->release, "agent", ss->agent);

		json_object_update(doc, session);
		json_decref(session);
		for (size_t i = 0; i < N_CONTENT; i++)
			json_object_set_new(doc, content_refs[i].name, json_string(content_ref(ss, i)->value));
	}
	if (json_object_size(doc))
		json_object_set_new(doc, "salt", json_string(ss->salt));
	text = json_object_size(doc) ? json_dumps(doc, JSON_COMPACT) : NULL;
	json_decref(doc);
	ss->svc->secret_put(ss->host, ss->secret, text);
	vs_wipe(&text);
}

static bool same(const json_t *doc, const char *key, const char *mine)
{
	return strcmp(json_string_value(json_object_get(doc, key)) ?: "", mine) == 0;
}

static void session_restore(struct vs_session *ss, const json_t *doc, const char *cookie)
{
	bool whole = true;

	snprintf(ss->agent, sizeof(ss->agent), "%s", json_string_value(json_object_get(doc, "agent")) ?: "");
	snprintf(ss->key, sizeof(ss->key), "%s", json_string_value(json_object_get(doc, "key")) ?: "");
	snprintf(ss->version, sizeof(ss->version), "%s", json_string_value(json_object_get(doc, "version")) ?: "");
	snprintf(ss->release, sizeof(ss->release), "%s", json_string_value(json_object_get(doc, "release")) ?: "");
	for (size_t i = 0; i < N_CONTENT; i++) {
		const char *v = json_string_value(json_object_get(doc, content_refs[i].name));

		if (!v && content_refs[i].fixed) /* a gateway of before kept none */
			v = content_refs[i].type;
		whole = whole && v && *v;
		snprintf(content_ref(ss, i)->type, sizeof(ss->root.type), "%s", content_refs[i].type);
		snprintf(content_ref(ss, i)->value, sizeof(ss->root.value), "%s", v ? v : "");
	}
	if (whole)
		ss->cookie = strdup(cookie);
}

void vs_content_restore(struct vs_session *ss)
{
	const char *text, *cookie;
	json_t *doc;

	if (ss->tried_kept)
		return;
	ss->tried_kept = true;
	text = ss->svc->secret_get(ss->host, ss->secret);
	doc = text ? json_loads(text, 0, NULL) : NULL;
	cookie = json_string_value(json_object_get(doc, "cookie"));
	vs_refused_restore(ss, json_object_get(doc, "refused"));
	/* A cookie goes to nobody but the server that gave it, and what its logins left is there too. */
	if (!cookie || same(doc, "server", ss->server)) {
		if (json_is_array(json_object_get(doc, "lost")))
			json_array_extend(ss->lost, json_object_get(doc, "lost"));
	}
	if (cookie && !same(doc, "server", ss->server)) {
		ss->svc->log(ss->host, PCG_LOG_WARN, "vsphere_session_left",
			     "{\"remedy\":\"Wait until the former vCenter ends the idle session, or end it there.\"}");
	} else if (cookie && ss->keep) {
		session_restore(ss, doc, cookie);
		/* Of other credentials: those were replaced while no worker ran that would have logged out. */
		ss->replaced = ss->cookie && (!same(doc, "user", ss->user) ||
					      (json_object_get(doc, "credential") && !same(doc, "credential", ss->credential)));
	}
	json_decref(doc);
}
