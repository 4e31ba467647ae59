/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "plugins/vsphere/soap.h"

#include <assert.h>
#include <inttypes.h>
#include <libxml/xmlreader.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NS_SOAP "http://schemas.xmlsoap.org/soap/envelope/"
#define NS_XSI "http://www.w3.org/2001/XMLSchema-instance"
#define NS_XSD "http://www.w3.org/2001/XMLSchema"

/* Bytes of the character at s; 0: they are none. */
static int char_len(const char *s)
{
	int len = (int)strnlen(s, 4);

	return xmlGetUTF8Char((const unsigned char *)s, &len) < 0 ? 0 : len;
}

void vs_utf8(char *text)
{
	while (*text) {
		int n = char_len(text);

		if (!n)
			*text = '?';
		text += n ? n : 1;
	}
}

void vs_fail(struct vs_err *err, uint32_t class, const char *remedy, const char *fmt, ...)
{
	va_list ap;

	memset(err, 0, sizeof(*err));
	err->class = class;
	snprintf(err->remedy, sizeof(err->remedy), "%s", remedy);
	va_start(ap, fmt);
	vsnprintf(err->text, sizeof(err->text), fmt, ap);
	va_end(ap);
	vs_utf8(err->text);
	vs_utf8(err->remedy);
}

void xn_free(struct xn *n)
{
	while (n) {
		struct xn *next = n->next;

		xn_free(n->child);
		xmlFree((void *)(uintptr_t)n->name);
		xmlFree(n->type);
		xmlFree(n->xsi);
		xmlFree(n->text);
		free(n);
		n = next;
	}
}

const struct xn *xn_next(const struct xn *n, const char *name)
{
	for (n = n ? n->next : NULL; n; n = n->next)
		if (strcmp(n->name, name) == 0)
			return n;
	return NULL;
}

const struct xn *xn_child(const struct xn *n, const char *name)
{
	for (n = n ? n->child : NULL; n; n = n->next)
		if (strcmp(n->name, name) == 0)
			return n;
	return NULL;
}

const struct xn *xn_at(const struct xn *n, const char *a, const char *b)
{
	return xn_child(xn_child(n, a), b);
}

const char *xn_text(const struct xn *n)
{
	return n && n->text ? n->text : "";
}

const char *xn_get(const struct xn *n, const char *name)
{
	return xn_text(xn_child(n, name));
}

bool xn_ref(const struct xn *n, struct vs_ref *out)
{
	memset(out, 0, sizeof(*out));
	if (!n || !n->text || strlen(n->text) >= sizeof(out->value) ||
	    (n->type && strlen(n->type) >= sizeof(out->type)))
		return false;
	strcpy(out->value, n->text);
	strcpy(out->type, n->type ? n->type : "");
	return *out->value;
}

const struct xn *xn_prop(const struct xn *object, const char *path)
{
	for (const struct xn *p = object ? object->child : NULL; p; p = p->next)
		if ((strcmp(p->name, "propSet") == 0 || strcmp(p->name, "changeSet") == 0) &&
		    strcmp(xn_get(p, "name"), path) == 0)
			return xn_child(p, "val");
	return NULL;
}

static char *attribute(xmlTextReaderPtr r, const char *name, const char *ns)
{
	xmlChar *v = ns ? xmlTextReaderGetAttributeNs(r, BAD_CAST name, BAD_CAST ns)
			: xmlTextReaderGetAttributeNs(r, BAD_CAST name, NULL);

	return (char *)v;
}

/* xsd:string and string are the same type here: every type of a reply has a unique local name. */
static char *without_prefix(char *qname)
{
	char *colon = qname ? strchr(qname, ':') : NULL;

	if (colon)
		memmove(qname, colon + 1, strlen(colon + 1) + 1);
	return qname;
}

static struct xn *node_new(xmlTextReaderPtr r)
{
	struct xn *n = calloc(1, sizeof(*n));

	assert(n);
	n->name = (char *)xmlStrdup(xmlTextReaderConstLocalName(r));
	n->type = attribute(r, "type", NULL);
	n->xsi = without_prefix(attribute(r, "type", NS_XSI));
	return n;
}

static void node_text(struct xn *n, xmlTextReaderPtr r)
{
	n->text = (char *)xmlStrcat((xmlChar *)n->text, xmlTextReaderConstValue(r));
}

struct build {
	struct xn *stack[XN_DEPTH_MAX], *last[XN_DEPTH_MAX];
	struct xn *root;
	unsigned depth, nodes, pieces;
};

static const char *element_begin(struct build *b, xmlTextReaderPtr r)
{
	const xmlChar *ns = xmlTextReaderConstNamespaceUri(r);
	struct xn *n;

	if (b->depth == 0 && (b->root || !ns || strcmp((const char *)ns, NS_SOAP) != 0))
		return "the reply is no SOAP envelope";
	if (b->depth >= XN_DEPTH_MAX || ++b->nodes > XN_NODES_MAX)
		return "the reply is too deep or too large";
	n = node_new(r);
	if (b->depth == 0)
		b->root = n;
	else if (b->last[b->depth - 1])
		b->last[b->depth - 1]->next = n;
	else
		b->stack[b->depth - 1]->child = n;
	if (b->depth > 0)
		b->last[b->depth - 1] = n;
	if (!xmlTextReaderIsEmptyElement(r)) {
		b->stack[b->depth] = n;
		b->last[b->depth++] = NULL;
	}
	return NULL;
}

static const char *one_event(struct build *b, xmlTextReaderPtr r)
{
	switch (xmlTextReaderNodeType(r)) {
	case XML_READER_TYPE_ELEMENT:
		return element_begin(b, r);
	case XML_READER_TYPE_END_ELEMENT:
		b->depth--;
		return NULL;
	case XML_READER_TYPE_TEXT:
	case XML_READER_TYPE_CDATA:
		if (!b->depth || b->last[b->depth - 1])
			return NULL;
		/* Each piece is put behind all before it. */
		if (b->stack[b->depth - 1]->text && ++b->pieces > XN_PIECES_MAX)
			return "the reply has text in too many pieces";
		node_text(b->stack[b->depth - 1], r);
		return NULL;
	case XML_READER_TYPE_DOCUMENT_TYPE:
	case XML_READER_TYPE_ENTITY_REFERENCE:
	case XML_READER_TYPE_ENTITY:
		return "the reply has a document type or an entity";
	default:
		return NULL;
	}
}

static void be_silent(void *arg, const char *msg, xmlParserSeverities severity, xmlTextReaderLocatorPtr at)
{
}

int xn_parse(const char *text, size_t len, struct xn **out, struct vs_err *err)
{
	struct build b = { .nodes = 0 };
	xmlTextReaderPtr r = len < INT32_MAX ? xmlReaderForMemory(text, (int)len, NULL, NULL,
								XML_PARSE_NONET | XML_PARSE_NOBLANKS) : NULL;
	const char *wrong = r ? NULL : "the reply is too large";
	struct xn *body;
	int more = 0;

	*out = NULL;
	if (r)
		xmlTextReaderSetErrorHandler(r, be_silent, NULL);
	while (!wrong && (more = xmlTextReaderRead(r)) == 1)
		wrong = one_event(&b, r);
	if (!wrong && more < 0)
		wrong = "the reply is no well-formed XML";
	xmlFreeTextReader(r);
	for (body = b.root ? b.root->child : NULL; body && strcmp(body->name, "Body") != 0; body = body->next)
		;
	if (!wrong && !body)
		wrong = "the reply has no SOAP body";
	if (wrong) {
		xn_free(b.root);
		vs_fail(err, PCG_ERR_RETRY, "Check that vcenterServer names a vCenter, and what stands between.", "%s", wrong);
		return -1;
	}
	*out = b.root;
	return 0;
}

const struct soap_service soap_vim = { "/sdk", "urn:vim25", "urn:vim25/6.7", false };
const struct soap_service soap_pbm = { "/pbm", "urn:pbm", "urn:pbm/1.0", true };

/* The cookie's value alone, without the quotes that vCenter puts around it. */
static void cookie_header(struct soap *s, const char *cookie)
{
	const char *value = strchr(cookie, '=');
	size_t n;

	value = value ? value + 1 : cookie;
	value += *value == '"';
	n = strcspn(value, "\"");
	xmlTextWriterStartElement(s->w, BAD_CAST "soapenv:Header");
	xmlTextWriterStartElement(s->w, BAD_CAST "vcSessionCookie");
	xmlTextWriterWriteFormatString(s->w, "%.*s", (int)n, value);
	xmlTextWriterEndElement(s->w);
	xmlTextWriterEndElement(s->w);
}

void soap_begin_at(struct soap *s, const struct soap_service *service, const char *cookie, const char *method,
		   const struct vs_ref *this)
{
	memset(s, 0, sizeof(*s));
	s->service = service;
	snprintf(s->method, sizeof(s->method), "%s", method);
	s->buf = xmlBufferCreate();
	s->w = s->buf ? xmlNewTextWriterMemory(s->buf, 0) : NULL;
	assert(s->w);
	xmlTextWriterStartDocument(s->w, NULL, "UTF-8", NULL);
	xmlTextWriterStartElementNS(s->w, BAD_CAST "soapenv", BAD_CAST "Envelope", BAD_CAST NS_SOAP);
	xmlTextWriterWriteAttribute(s->w, BAD_CAST "xmlns:xsd", BAD_CAST NS_XSD);
	xmlTextWriterWriteAttribute(s->w, BAD_CAST "xmlns:xsi", BAD_CAST NS_XSI);
	if (service->cookie_header)
		cookie_header(s, cookie);
	xmlTextWriterStartElement(s->w, BAD_CAST "soapenv:Body");
	xmlTextWriterStartElementNS(s->w, NULL, BAD_CAST method, BAD_CAST service->namespace);
	soap_ref(s, "_this", this);
}

void soap_begin(struct soap *s, const char *method, const struct vs_ref *this)
{
	soap_begin_at(s, &soap_vim, "", method, this);
}

void soap_finish(struct soap *s)
{
	xmlTextWriterEndDocument(s->w);
	xmlTextWriterFlush(s->w);
}

void soap_free(struct soap *s)
{
	if (s->w)
		xmlFreeTextWriter(s->w);
	if (s->buf) {
		explicit_bzero((void *)(uintptr_t)xmlBufferContent(s->buf), (size_t)xmlBufferLength(s->buf));
		xmlBufferFree(s->buf);
	}
	memset(s, 0, sizeof(*s));
}

void soap_open(struct soap *s, const char *name)
{
	xmlTextWriterStartElement(s->w, BAD_CAST name);
}

void soap_open_type(struct soap *s, const char *name, const char *xsi)
{
	xmlTextWriterStartElement(s->w, BAD_CAST name);
	xmlTextWriterWriteAttribute(s->w, BAD_CAST "xsi:type", BAD_CAST xsi);
}

void soap_close(struct soap *s)
{
	xmlTextWriterEndElement(s->w);
}

void soap_text(struct soap *s, const char *name, const char *text)
{
	xmlTextWriterWriteElement(s->w, BAD_CAST name, BAD_CAST text);
}

void soap_int(struct soap *s, const char *name, int64_t value)
{
	char text[24];

	snprintf(text, sizeof(text), "%" PRId64, value);
	soap_text(s, name, text);
}

void soap_bool(struct soap *s, const char *name, bool value)
{
	soap_text(s, name, value ? "true" : "false");
}

void soap_ref(struct soap *s, const char *name, const struct vs_ref *ref)
{
	xmlTextWriterStartElement(s->w, BAD_CAST name);
	xmlTextWriterWriteAttribute(s->w, BAD_CAST "type", BAD_CAST ref->type);
	xmlTextWriterWriteString(s->w, BAD_CAST ref->value);
	xmlTextWriterEndElement(s->w);
}

void soap_option(struct soap *s, const char *key, const char *value)
{
	soap_open_type(s, "extraConfig", "OptionValue");
	soap_text(s, "key", key);
	soap_open_type(s, "value", "xsd:string");
	xmlTextWriterWriteString(s->w, BAD_CAST value);
	soap_close(s);
	soap_close(s);
}

static bool listed(const char *const *list, const char *name)
{
	for (; list && *list; list++)
		if (strcmp(*list, name) == 0)
			return true;
	return false;
}

void soap_copy(struct soap *s, const struct xn *n, const char *const *skip)
{
	char xsd[64];

	xmlTextWriterStartElement(s->w, BAD_CAST n->name);
	if (n->type)
		xmlTextWriterWriteAttribute(s->w, BAD_CAST "type", BAD_CAST n->type);
	if (n->xsi) {
		bool simple = n->xsi[0] >= 'a' && n->xsi[0] <= 'z';

		snprintf(xsd, sizeof(xsd), "%s%s", simple ? "xsd:" : "", n->xsi);
		xmlTextWriterWriteAttribute(s->w, BAD_CAST "xsi:type", BAD_CAST xsd);
	}
	if (n->text && !n->child)
		xmlTextWriterWriteString(s->w, BAD_CAST n->text);
	for (const struct xn *c = n->child; c; c = c->next)
		if (!listed(skip, c->name))
			soap_copy(s, c, skip);
	xmlTextWriterEndElement(s->w);
}
