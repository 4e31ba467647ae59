/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PLUGINS_VSPHERE_SOAP_H
#define PLUGINS_VSPHERE_SOAP_H

/*
 * Requests by libxml2's writer, replies by its reader into a small tree. No DTD, no entity, no
 * network; depth and size are limited. A reply's tree is freed with xn_free.
 */

#include <jansson.h>
#include <libxml/xmlwriter.h>
#include <pcg/provider.h>
#include <stdbool.h>

#define XN_DEPTH_MAX 48
#define XN_NODES_MAX 2000000u
#define XN_PIECES_MAX 10000u /* of text, beyond the first of its element */

struct vs_err {
	uint32_t class;    /* PCG_ERR_... */
	char fault[64];    /* type of the vSphere fault, "" when there was none */
	char text[768];
	char remedy[320];
};

/* A managed object. value "" means none. */
struct vs_ref {
	char type[48];
	char value[176];
};

struct xn {
	const char *name;  /* local name */
	char *type;        /* attribute "type" of no namespace: the type of a reference */
	char *xsi;         /* xsi:type without prefix */
	char *text;
	struct xn *child, *next;
};

/* Returns -1 with err filled. *out is the element Body of the envelope. */
int xn_parse(const char *text, size_t len, struct xn **out, struct vs_err *err);
void xn_free(struct xn *n);
const struct xn *xn_child(const struct xn *n, const char *name);      /* the first; NULL */
const struct xn *xn_next(const struct xn *n, const char *name);       /* the next sibling of that name */
const struct xn *xn_at(const struct xn *n, const char *a, const char *b);
const char *xn_text(const struct xn *n);                             /* "" for NULL */
const char *xn_get(const struct xn *n, const char *name);             /* text of a child; "" */
bool xn_ref(const struct xn *n, struct vs_ref *out);
/* val of a property of an <objects> or <objectSet> element, NULL when it is not there. */
const struct xn *xn_prop(const struct xn *object, const char *path);

struct soap {
	xmlBufferPtr buf;
	xmlTextWriterPtr w;
	char method[48];
	const struct soap_service *service;
};

/* Which of the vCenter's SOAP services it goes to. A service other than that of machines (vim25) has no login of its own: it is
 * given the cookie of the vim25 session in a header (vSphere Web Services SDK, "Storage policy: connecting"). */
struct soap_service {
	const char *path, *namespace, *action;
	bool cookie_header;
};
extern const struct soap_service soap_vim, soap_pbm;

/* soap_begin for another service than soap_vim; cookie is the session's, "vmware_soap_session=...". */
void soap_begin_at(struct soap *s, const struct soap_service *service, const char *cookie, const char *method,
		   const struct vs_ref *this);
/* Begins <Body><METHOD><_this type=..>; soap_free wipes what was written. */
void soap_begin(struct soap *s, const char *method, const struct vs_ref *this);
void soap_finish(struct soap *s);
void soap_free(struct soap *s);
void soap_open(struct soap *s, const char *name);
void soap_open_type(struct soap *s, const char *name, const char *xsi);
void soap_close(struct soap *s);
void soap_text(struct soap *s, const char *name, const char *text);
void soap_int(struct soap *s, const char *name, int64_t value);
void soap_bool(struct soap *s, const char *name, bool value);
void soap_ref(struct soap *s, const char *name, const struct vs_ref *ref);
void soap_option(struct soap *s, const char *key, const char *value); /* <extraConfig> */
/* Writes a part of a reply as it is, but for members named in skip (NULL-terminated). */
void soap_copy(struct soap *s, const struct xn *n, const char *const *skip);

/* A text that was cut to fit may end within a character, and would be no text of a document: such bytes become '?'. */
void vs_utf8(char *text);
void vs_fail(struct vs_err *err, uint32_t class, const char *remedy, const char *fmt, ...)
	__attribute__((format(printf, 4, 5)));

#endif
