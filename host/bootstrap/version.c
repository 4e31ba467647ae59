/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"
#include "host/bootstrap/version.h"

#include <ctype.h>
#include <string.h>

static bool number(const char **p, int *out)
{
	int n = 0;
	const char *s = *p;

	if (!isdigit((unsigned char)*s))
		return false;
	for (; isdigit((unsigned char)*s); s++) {
		if (n > 100000)
			return false;
		n = n * 10 + (*s - '0');
	}
	*p = s;
	*out = n;
	return true;
}

static bool suffix_ok(const char *s)
{
	if (!*s)
		return true;
	if (*s != '-' && *s != '+')
		return false;
	return s[1] &&
	       strspn(s + 1, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
			     ".-+") == strlen(s + 1);
}

bool version_parse(const char *text, struct version *out)
{
	const char *p = text;

	if (!p)
		return false;
	if (*p == 'v')
		p++;
	return number(&p, &out->major) && *p++ == '.' && number(&p, &out->minor) && *p++ == '.' &&
	       number(&p, &out->patch) && suffix_ok(p);
}

bool version_has_v1beta4(const struct version *v)
{
	return v->major > 1 || v->minor >= 31;
}

bool version_has_kubelet_local_mode(const struct version *v)
{
	return v->major == 1 && v->minor >= 31 && v->minor < 36;
}
