/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "plugins/vsphere/check.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

/* What is wrong with an account before anybody is asked. */

#define BLANKS " \t\r\n"

const char vs_settings[] =
	"[{\"name\":\"maxConnections\",\"type\":\"int\",\"default\":\"4\",\"doc\":\"connections to the vCenter at once, "
	"the one that waits for changes among them\",\"secret\":false},"
	"{\"name\":\"cloneMode\",\"type\":\"string\",\"default\":\"fullClone\",\"doc\":\"fullClone; linkedClone needs a "
	"snapshot of the template and keeps the size of its disk\",\"secret\":false},"
	"{\"name\":\"snapshot\",\"type\":\"string\",\"default\":\"\",\"doc\":\"of the template, for linkedClone: a name, a "
	"path of names or an id; none: its current one\",\"secret\":false},"
	"{\"name\":\"hardwareVersion\",\"type\":\"string\",\"default\":\"\",\"doc\":\"machines of an older one are upgraded "
	"before their first boot, such as vmx-19\",\"secret\":false},"
	"{\"name\":\"cloneTasks\",\"type\":\"int\",\"default\":\"256\",\"doc\":\"clone tasks that run at once at most, 1 to 1000; "
	"fewer while the vCenter does not keep up\",\"secret\":false},"
	"{\"name\":\"guestShutdownSeconds\",\"type\":\"int\",\"default\":\"0\",\"doc\":\"how long a guest may take to shut "
	"down by itself before its machine is powered off to be deleted; 0: it is not asked\",\"secret\":false},"
	"{\"name\":\"preferredAPIServerCidr\",\"type\":\"string\",\"default\":\"\",\"doc\":\"network (CIDR) whose addresses come "
	"first in what is told of a machine; a pool's network and the cluster's placement may name another one\",\"secret\":false}]";

/* XML 1.0 has no such characters, however they are written. */
static bool is_sayable(const char *text)
{
	for (const unsigned char *s = (const unsigned char *)text; *s; s++)
		if ((*s < 0x20 && !strchr("\t\r\n", *s)) || (*s == 0xef && s[1] == 0xbf && s[2] >= 0xbe))
			return false;
	return true;
}

static bool check_secret(const json_t *spec, const char *member, const char *what, const char *missing, json_t *problems)
{
	const char *text = vs_str(spec, member);

	if (!*text)
		vs_problem(problems, member, missing, "the %s is missing", what);
	else if (!is_sayable(text))
		vs_problem(problems, member, "Look at what was pasted; if that is how it was set, set another one in vCenter.",
			   "the %s has a control character in it, which cannot be sent to a vCenter", what);
	return *text && is_sayable(text);
}

static bool is_hardware(const char *text)
{
	return strncmp(text, "vmx-", 4) == 0 && text[4] && strspn(text + 4, "0123456789") == strlen(text + 4);
}

/* What it must be; NULL: it is. */
static const char *value_must(const char *name, const json_t *type, const json_t *value)
{
	const char *text = json_string_value(value);

	if (strcmp(vs_str(type, "type"), "int") == 0)
		return json_is_integer(value) && json_integer_value(value) >= 0 ? NULL : "a whole number, without quotes";
	if (!text)
		return "a text";
	if (*text && strcmp(name, "cloneMode") == 0 && strcmp(text, "fullClone") != 0 && strcmp(text, "linkedClone") != 0)
		return "fullClone or linkedClone";
	return *text && strcmp(name, "hardwareVersion") == 0 && !is_hardware(text) ? "a version such as vmx-19" : NULL;
}

static void unknown_setting(const char *name, const json_t *table, json_t *warnings)
{
	char known[300] = "";
	json_t *type;
	size_t i;

	json_array_foreach((json_t *)(uintptr_t)table, i, type)
		snprintf(known + strlen(known), sizeof(known) - strlen(known), "%s%s", i ? ", " : "", vs_str(type, "name"));
	check_warn(warnings, "the setting \"%.60s\" is not known, and does nothing; there are %s", name, known);
}

static void check_settings(const json_t *settings, json_t *problems, json_t *warnings)
{
	json_t *table = json_loads(vs_settings, 0, NULL), *type = NULL, *value;
	const char *name, *must;
	char field[100];
	size_t i;

	assert(table);
	json_object_foreach((json_t *)(uintptr_t)settings, name, value) {
		json_array_foreach(table, i, type)
			if (strcmp(vs_str(type, "name"), name) == 0)
				break;
		if (json_is_null(value))
			continue;
		must = i < json_array_size(table) ? value_must(name, type, value) : NULL;
		snprintf(field, sizeof(field), "settings.%.60s", name);
		if (i == json_array_size(table))
			unknown_setting(name, table, warnings);
		else if (must)
			vs_problem(problems, field, "Correct it, or leave it out.", "the setting %s must be %s", name, must);
	}
	json_decref(table);
}

bool check_spec(const json_t *spec, json_t *problems, json_t *warnings)
{
	const char *user = vs_str(spec, "username");
	size_t len = strlen(user);
	bool good = check_secret(spec, "username", "user name", "Give the user as USER@DOMAIN.", problems);

	if (good && (strchr(BLANKS, user[0]) || strchr(BLANKS, user[len - 1]))) {
		vs_problem(problems, "username", "Take it out.", "the user name begins or ends with a blank or a line end");
		good = false;
	}
	good = check_secret(spec, "password", "password", "Give the user's password.", problems) && good;
	check_settings(json_object_get(spec, "settings"), problems, warnings);
	return good;
}
