/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"
#include "core/attr.h"
#include "core/conf.h"
#include "tests/core/unit.h"

#include <signal.h>

static const struct conf_setting table[] = {
	{ .name = "plane.url", .type = CONF_URL, .required = true, .reload = true, .doc = "Address of the plane." },
	{ .name = "plane.ca_file", .type = CONF_FILE, .reload = true, .doc = "Its CA." },
	{ .name = "state_dir", .type = CONF_DIR, .def = "/var/lib/pcgd", .doc = "Where the store lies." },
	{ .name = "log_level", .type = CONF_STR, .def = "info", .reload = true, .doc = "How much is logged." },
	{ .name = "limits.connections", .type = CONF_INT, .def = "4", .min = 1, .max = 64, .reload = true,
	  .doc = "For each account." },
	{ .name = "limits.fair", .type = CONF_BOOL, .def = "true", .doc = "Work is shared." },
	{ .name = "proxy.no_proxy", .type = CONF_STR_LIST, .def = "localhost,127.0.0.0/8", .doc = "Not by proxy." },
	{ .name = "proxy.password", .type = CONF_STR, .doc = "Of the proxy." },
};

static char dir[256];
static char path[512];
static struct buf report;

static void setup(void)
{
	unit_dir_make(dir);
	snprintf(path, sizeof(path), "%s/pcgd.conf", dir);
	buf_init(&report, 1 << 20);
}

static void teardown(void)
{
	buf_free(&report);
	unit_dir_remove(dir);
}

static struct conf *load(const char *text)
{
	struct conf *c;

	unit_write(path, text, strlen(text));
	ck_assert_msg(conf_load(path, table, ARRAY_LEN(table), &c, &report) == 0, "%s", report.data);
	ck_assert_str_eq(report.data, "");
	return c;
}

START_TEST(values_and_defaults_are_read)
{
	struct conf *c = load("plane = { url = \"https://plane.example.org:8443\"; };\n"
			      "limits : { connections = 8; fair = false; };\n"
			      "# comment\nproxy = { no_proxy = [\"a\", \".b\"]; };\n");

	ck_assert_str_eq(conf_str(c, "plane.url"), "https://plane.example.org:8443");
	ck_assert_ptr_null(conf_str(c, "plane.ca_file"));
	ck_assert_str_eq(conf_str(c, "state_dir"), "/var/lib/pcgd");
	ck_assert_str_eq(conf_str(c, "log_level"), "info");
	ck_assert_int_eq(conf_int(c, "limits.connections"), 8);
	ck_assert(!conf_bool(c, "limits.fair"));
	ck_assert_uint_eq(conf_list_len(c, "proxy.no_proxy"), 2);
	ck_assert_str_eq(conf_list_at(c, "proxy.no_proxy", 1), ".b");
	ck_assert_ptr_null(conf_list_at(c, "proxy.no_proxy", 2));
	conf_unref(conf_ref(c));
	conf_unref(c);
	c = load("plane: { url: \"http://[::1]:80/x\" }");
	ck_assert(conf_bool(c, "limits.fair"));
	ck_assert_uint_eq(conf_list_len(c, "proxy.no_proxy"), 2);
	ck_assert_str_eq(conf_list_at(c, "proxy.no_proxy", 1), "127.0.0.0/8");
	conf_unref(c);
}
END_TEST

#define OK "plane = { url = \"https://p\"; };\n"

/* %F stands for the file, %D for its folder. */
static const struct {
	const char *text, *says;
} wrong[] = {
	{ "", "%F: setting plane.url: missing; allowed: an address like \"https://plane.example.org:8443\"\n" },
	{ "plane = {\n  urll = \"x\";\n  url = \"https://p\"; };",
	  "%F:2: setting plane.urll: unknown, is plane.url meant?; allowed: plane.url, plane.ca_file\n" },
	{ OK "zzzzzzzzz = 1;", "%F:2: setting zzzzzzzzz: unknown; allowed: plane.url, plane.ca_file, state_dir, "
	  "log_level, limits.connections, limits.fair, proxy.no_proxy, proxy.password\n" },
	{ OK "limits = 5;",
	  "%F:2: setting limits: is a group; allowed: limits = { ... }; with limits.connections, limits.fair\n" },
	{ OK "loglevel = \"info\";", "%F:2: setting loglevel: unknown, is log_level meant?; allowed: " },
	{ "\n\nplane = { url = 5; };",
	  "%F:3: setting plane.url: is not a text in quotes; allowed: an address like \"https://plane.example.org:8443\"\n" },
	{ OK "limits = {\n connections = 65; };",
	  "%F:3: setting limits.connections: is out of range; allowed: a whole number from 1 to 64\n" },
	{ OK "limits = { connections = 0; };", "is out of range; allowed: a whole number from 1 to 64\n" },
	{ OK "limits = { connections = 9999999999L; };", "is out of range" },
	{ OK "limits = { connections = 1.5; };", "limits.connections: is not a whole number" },
	{ OK "limits = { connections = \"4\"; };", "limits.connections: is not a whole number" },
	{ OK "limits = { fair = 1; };", "%F:2: setting limits.fair: is neither true nor false; allowed: true or false\n" },
	{ OK "proxy = { no_proxy = \"a\"; };",
	  "%F:2: setting proxy.no_proxy: is not a list; allowed: a list of texts like [\"a\", \"b\"]\n" },
	{ OK "proxy = { no_proxy = [1]; };", "%F:2: setting proxy.no_proxy: has an entry that is not a text" },
	{ OK "plane = { };", "%F:2: duplicate setting name; allowed: " },
	{ OK "limits = {", "%F:2: syntax error" },
	{ OK "state_dir = \"%D/none\";", "%F:2: setting state_dir: there is no such file or folder; allowed: the absolute "
	  "path of a folder, in quotes\n" },
	{ OK "state_dir = \"relative\";", "setting state_dir: the path is not absolute" },
	{ OK "state_dir = \"%F\";", "setting state_dir: it is not a folder" },
	{ "plane = { url = \"https://p\"; ca_file = \"%D\"; };", "setting plane.ca_file: it is not a regular file" },
	{ OK "log_level = \"\xff\";", "%F:2: bytes that are not UTF-8" },
	{ OK "log_level = \"info", "%F:2: a text in quotes has no end" },
	{ OK "/* never closed", "%F:2: a comment has no end" },
	{ OK "\n\n@include \"gone.conf\"\n", "%F:4: @include %D/gone.conf: cannot be read: No such file or directory" },
	{ OK "@include \"../x.conf\"\n", "%F:2: @include leaves the folder; allowed: a file in the folder of this one" },
	{ OK "@include \"/etc/passwd\"\n", "%F:2: @include leaves the folder" },
	{ OK "  @include gone.conf\n", "%F:2: @include is not understood; allowed: @include \"NAME\"" },
};

static char *expand(const char *text)
{
	struct buf out;

	buf_init(&out, 1 << 16);
	for (; *text; text++) {
		if (text[0] == '%' && (text[1] == 'F' || text[1] == 'D'))
			buf_adds(&out, *++text == 'F' ? path : dir);
		else
			buf_add(&out, text, 1);
	}
	return buf_take(&out);
}

START_TEST(wrong_settings_are_told_with_file_line_setting_and_what_is_allowed)
{
	AUTO_FREE char *text = expand(wrong[_i].text), *says = expand(wrong[_i].says);
	struct conf *c = (struct conf *)dir;

	unit_write(path, text, strlen(text));
	ck_assert_int_eq(conf_load(path, table, ARRAY_LEN(table), &c, &report), -1);
	ck_assert_ptr_null(c);
	ck_assert_msg(strstr(report.data, says) != NULL, "%s", report.data);
}
END_TEST

static const char *const bad_urls[] = {
	"", "plane", "ftp://x", "https://", "https:///x", "https://:443", "https://h:", "https://h:0", "https://h:65536",
	"https://h:99999999999999999999", "https://h:4x", "https://h h", "https://h/a b", "https://[::1", "https://[]",
	"https://[zz]:1", "https://[::1]x", "https://u:p@", "HTTPS//x", "https://h\xc3\xa4",
};

START_TEST(bad_urls_are_refused_and_never_repeated)
{
	char text[256];
	struct conf *c;

	snprintf(text, sizeof(text), "plane = { url = \"%s\"; };", bad_urls[_i]);
	unit_write(path, text, strlen(text));
	ck_assert_int_eq(conf_load(path, table, ARRAY_LEN(table), &c, &report), -1);
	ck_assert_ptr_nonnull(strstr(report.data, "pcgd.conf:1: setting plane.url: the "));
}
END_TEST

START_TEST(good_urls_are_taken)
{
	static const char *const urls[] = { "https://h", "http://10.0.0.1:3128", "https://h.example:65535/path?q#f",
					    "http://user:p%40ss@proxy:3128", "https://[fd00::1]", "https://[::1]:8443/" };
	char text[256];

	snprintf(text, sizeof(text), "plane = { url = \"%s\"; };", urls[_i]);
	conf_unref(load(text));
}
END_TEST

START_TEST(all_wrong_settings_are_told_at_once_and_no_value_is)
{
	static const char text[] = "nonsense = 1;\nlog_level = 7;\nproxy = { password = [ \"hunter2\" ]; };\n"
				   "limits = { connections = 100; fair = \"hunter2\"; };\n";
	struct conf *c;
	size_t lines = 0;

	unit_write(path, text, strlen(text));
	ck_assert_int_eq(conf_load(path, table, ARRAY_LEN(table), &c, &report), -1);
	for (const char *p = report.data; *p; p++)
		lines += *p == '\n';
	ck_assert_msg(lines == 6, "%s", report.data);
	ck_assert_ptr_null(strstr(report.data, "hunter2"));
}
END_TEST

START_TEST(files_that_cannot_be_read_are_told)
{
	char *big = malloc((1 << 20) + 2);
	struct conf *c;

	ck_assert_int_eq(conf_load(path, table, ARRAY_LEN(table), &c, &report), -1);
	ck_assert_ptr_nonnull(strstr(report.data, "pcgd.conf: cannot be read: No such file or directory; allowed: "));
	ck_assert_int_eq(conf_load(dir, table, ARRAY_LEN(table), &c, &report), -1);
	ck_assert_ptr_nonnull(strstr(report.data, ": is not a regular file; allowed: "));
	memset(big, '\n', (1 << 20) + 1);
	unit_write(path, big, (1 << 20) + 1);
	ck_assert_int_eq(conf_load(path, table, ARRAY_LEN(table), &c, &report), -1);
	ck_assert_ptr_nonnull(strstr(report.data, ": is too large; allowed: at most 1048576 bytes"));
	unit_write(path, "a\0b", 3);
	ck_assert_int_eq(conf_load(path, table, ARRAY_LEN(table), &c, &report), -1);
	ck_assert_ptr_nonnull(strstr(report.data, "pcgd.conf:1: a zero byte"));
	free(big);
}
END_TEST

START_TEST(an_unreadable_file_is_told)
{
	struct conf *c;

	if (geteuid() == 0 && setresuid(65534, 65534, 65534))
		ck_abort_msg("becoming an ordinary user");
	teardown();
	setup();
	unit_write(path, OK, strlen(OK));
	chmod(path, 0);
	ck_assert_int_eq(conf_load(path, table, ARRAY_LEN(table), &c, &report), -1);
	ck_assert_ptr_nonnull(strstr(report.data, "cannot be read: Permission denied"));
	unlink(path);
	rmdir(dir);
}
END_TEST

START_TEST(included_files_count_and_their_lines_are_told)
{
	static const char sub[] = "\nlimits = {\n connections = 900; };\n";
	static const char both[] = "@include \"conf.d/plane.conf\"\n@include \"limits.conf\"\nzz = 1;\n";
	struct conf *c;

	mkdir(unit_path(dir, "conf.d"), 0755);
	unit_write(unit_path(dir, "conf.d/plane.conf"), OK, strlen(OK));
	unit_write(unit_path(dir, "limits.conf"), sub, strlen(sub));
	c = load("/* \n@include \"not.conf\"\n*/ log_level = \"a\n@include\";\n@include \"conf.d/plane.conf\"\n");
	ck_assert_str_eq(conf_str(c, "plane.url"), "https://p");
	conf_unref(c);
	unit_write(path, both, strlen(both));
	ck_assert_int_eq(conf_load(path, table, ARRAY_LEN(table), &c, &report), -1);
	ck_assert_ptr_nonnull(strstr(report.data, "limits.conf:3: setting limits.connections: is out of range"));
	ck_assert_ptr_nonnull(strstr(report.data, "pcgd.conf:3: setting zz: unknown"));
}
END_TEST

START_TEST(included_files_are_limited)
{
	struct buf text;
	struct conf *c;

	buf_init(&text, 1 << 16);
	unit_write(unit_path(dir, "empty.conf"), "", 0);
	unit_write(unit_path(dir, "loop.conf"), "@include \"loop.conf\"\n", 21);
	for (int i = 0; i < 17; i++)
		buf_adds(&text, "@include \"empty.conf\"\n");
	unit_write(path, text.data, text.len);
	ck_assert_int_eq(conf_load(path, table, ARRAY_LEN(table), &c, &report), -1);
	ck_assert_ptr_nonnull(strstr(report.data, "pcgd.conf:17: @include is one too many; allowed: 16 included files"));
	unit_write(path, "@include \"loop.conf\"\n", 21);
	ck_assert_int_eq(conf_load(path, table, ARRAY_LEN(table), &c, &report), -1);
	ck_assert_ptr_nonnull(strstr(report.data, "loop.conf:1: @include stands in an included file"));
	buf_free(&text);
}
END_TEST

START_TEST(settings_that_may_not_change_are_named)
{
	struct conf *a = load(OK), *b = load("plane = { url = \"https://q\"; };\nlimits = { fair = false; };\n"
					     "proxy = { no_proxy = [\"localhost\"]; password = \"x\"; };");

	conf_diff_fixed(a, b, &report);
	ck_assert_str_eq(report.data, "limits.fair\nproxy.no_proxy\nproxy.password\n");
	buf_reset(&report);
	conf_diff_fixed(a, a, &report);
	ck_assert_str_eq(report.data, "");
	conf_unref(a);
	conf_unref(b);
}
END_TEST

START_TEST(the_table_documents_itself)
{
	conf_document(table, ARRAY_LEN(table), &report);
	ck_assert_ptr_nonnull(strstr(report.data, "plane.url (URL, required, changes by reload)\n    Address of the plane.\n"));
	ck_assert_ptr_nonnull(strstr(report.data, "limits.connections (number from 1 to 64, default 4, changes by reload)\n"));
	ck_assert_ptr_nonnull(strstr(report.data, "state_dir (folder, default /var/lib/pcgd)\n"));
	for (size_t i = 0; i < ARRAY_LEN(table); i++)
		ck_assert_ptr_nonnull(strstr(report.data, table[i].name));
}
END_TEST

START_TEST(asking_for_a_setting_that_is_not_in_the_table_stops_the_program)
{
	struct conf *c = load(OK);

	ck_assert_ptr_nonnull(freopen("/dev/null", "w", stderr));
	conf_str(c, "plane.none");
}
END_TEST

static void add(TCase *tc)
{
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, values_and_defaults_are_read);
	tcase_add_loop_test(tc, wrong_settings_are_told_with_file_line_setting_and_what_is_allowed, 0, ARRAY_LEN(wrong));
	tcase_add_loop_test(tc, bad_urls_are_refused_and_never_repeated, 0, ARRAY_LEN(bad_urls));
	tcase_add_loop_test(tc, good_urls_are_taken, 0, 6);
	tcase_add_test(tc, all_wrong_settings_are_told_at_once_and_no_value_is);
	tcase_add_test(tc, files_that_cannot_be_read_are_told);
	tcase_add_test(tc, an_unreadable_file_is_told);
	tcase_add_test(tc, included_files_count_and_their_lines_are_told);
	tcase_add_test(tc, included_files_are_limited);
	tcase_add_test(tc, settings_that_may_not_change_are_named);
	tcase_add_test(tc, the_table_documents_itself);
	tcase_add_test_raise_signal(tc, asking_for_a_setting_that_is_not_in_the_table_stops_the_program, SIGABRT);
}

int main(void)
{
	return unit_main("core/conf", add);
}
