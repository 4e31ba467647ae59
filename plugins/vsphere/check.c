/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "plugins/vsphere/check.h"

#include <assert.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define SKEW_WARN_MS 60000
#define SKEW_WRONG_MS 300000

void check_warn(json_t *warnings, const char *fmt, ...)
{
	va_list ap;
	char *text;

	if (!warnings)
		return;
	va_start(ap, fmt);
	if (vasprintf(&text, fmt, ap) < 0)
		abort();
	va_end(ap);
	vs_utf8(text);
	json_array_append_new(warnings, json_string(text));
	free(text);
}

/* 6.7 U3 is the oldest that Palette's documentation takes; 7 and 8 are what this provider is written for. U3 is not told from 6.7
 * by about.version, which is "6.7.0" for all of them; full_name ends with the build. */
void check_release(const char *release, const char *full_name, json_t *problems, json_t *warnings)
{
	unsigned major = 0, minor = 0;

	if (sscanf(release, "%u.%u", &major, &minor) != 2)
		check_warn(warnings, "the version of the vCenter (%s) is not known to this provider", *full_name ? full_name : "none told");
	else if (major < 6 || (major == 6 && minor < 7))
		vs_problem(problems, "vcenterServer", "Upgrade the vCenter to 7.0 or newer; 6.7 U3 is the oldest that works.",
			   "%s is too old: this provider needs 6.7 U3, 7.0 or 8.0", full_name);
	else if (major == 6)
		check_warn(warnings, "%s is supported from 6.7 U3 on, and by nobody but this provider any more: upgrade it", full_name);
	else if (major > 8)
		check_warn(warnings, "%s is newer than what this provider was written for (7.0, 8.0)", full_name);
}

/* "2026-11-28T06:09:51.123456Z", with an offset in place of Z on some. Milliseconds since 1970, -1: it is none. */
static int64_t time_of(const char *text)
{
	struct tm tm = { 0 };
	const char *rest = strptime(text, "%Y-%m-%dT%H:%M:%S", &tm);
	int hours = 0, minutes = 0;
	int64_t ms;
	char sign;

	if (!rest)
		return -1;
	ms = (int64_t)timegm(&tm) * 1000;
	if (*rest == '.') {
		ms += (int64_t)(strtod(rest, (char **)&rest) * 1000);
	}
	if (sscanf(rest, "%c%2d:%2d", &sign, &hours, &minutes) == 3 && (sign == '+' || sign == '-'))
		ms -= (sign == '+' ? 1 : -1) * (hours * 60 + minutes) * INT64_C(60000);
	return ms;
}

int check_clock(struct vs_session *ss, struct pcg_call *call, json_t *problems, json_t *warnings, struct vs_err *err)
{
	static const struct vs_ref instance = { "ServiceInstance", "ServiceInstance" };
	int64_t before = ss->svc->wall_ms(ss->host), after, theirs, skew;
	struct xn *reply;
	struct soap s;

	soap_begin(&s, "CurrentTime", &instance);
	soap_finish(&s);
	if (vs_call(ss, call, &s, 0, 0, 0, &reply, err))
		return -1;
	after = ss->svc->wall_ms(ss->host);
	theirs = time_of(xn_get(vs_result(reply), "returnval"));
	xn_free(reply);
	/* It was read at some moment between the two. */
	skew = theirs < before ? theirs - before : theirs > after ? theirs - after : 0;
	if (theirs < 0)
		check_warn(warnings, "the vCenter's clock was not told");
	else if (llabs(skew) >= SKEW_WRONG_MS)
		vs_problem(problems, "vcenterServer", "Give the vCenter, its hosts and this gateway the same NTP servers.",
			   "the vCenter's clock is %" PRId64 " s %s of this gateway's: certificates and tokens of machines would not be "
			   "valid yet, or any more", (int64_t)llabs(skew) / 1000, skew > 0 ? "ahead" : "behind");
	else if (llabs(skew) >= SKEW_WARN_MS)
		check_warn(warnings, "the vCenter's clock is %" PRId64 " s %s of this gateway's: give both the same NTP servers",
		     (int64_t)llabs(skew) / 1000, skew > 0 ? "ahead" : "behind");
	return 0;
}
