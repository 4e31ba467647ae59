/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"
#include "tests/policy/rig.h"

#include <stdlib.h>
#include <string.h>

#define SPEC "{\"uid\":\"u1\",\"name\":\"c1\",\"tenant\":\"t1\",\"kubernetesVersion\":\"v1.36.3\"," \
	"\"pools\":[{\"name\":\"cp\",\"size\":1,\"controlPlane\":true,\"taints\":[],\"labels\":{}}]," \
	"\"cloudConfig\":{},\"controlPlaneEndpoint\":null}"

static const struct wrong {
	const char *name, *hook, *script, *says[3];
} wrongs[] = {
	{ "run-time error", "admission", "function admission(c)\n\n\treturn c.nothing.at\nend",
	  { "policy t1/10-x.lua, hook admission", ":3:", "nil value (field 'nothing')" } },
	{ "error of a C function", "admission", "function admission(c)\n\treturn string.rep()\nend",
	  { "t1/10-x.lua", ":2:", "bad argument #1 to 'rep'" } },
	{ "error that is a table", "admission", "function admission(c)\nerror({code = 1})\nend",
	  { "t1/10-x.lua", ":2:", "called with a table" } },
	{ "error that is no UTF-8", "admission", "function admission(c) error('\\xff\\xfe') end",
	  { "t1/10-x.lua", ":1:", "\xef\xbf\xbd" } },
	{ "error while an error is handled", "admission",
	  "function admission(c) setmetatable(_G, {__index = error}) return nothing end",
	  { "t1/10-x.lua" } },
	{ "endless recursion", "admission", "function admission(c) return 1 + admission(c) end",
	  { "t1/10-x.lua", "more memory than is allowed" } },
	{ "endless loop", "admission", "function admission(c) while true do end end",
	  { "policy t1/10-x.lua, hook admission", "stopped after 400 ms" } },
	{ "endless loop under pcall", "admission",
	  "function admission(c) while true do pcall(error) end end", { "t1/10-x.lua", "stopped after" } },
	{ "endless loop in one call of C", "admission",
	  "function admission(c) return string.find(string.rep('a', 1 << 20), '.-.-.-.-b') end",
	  { "t1/10-x.lua", "stopped after" } },
	{ "endless loop in a finalizer", "admission",
	  "function admission(c) keep = setmetatable({}, {__gc = function() while true do end end})\n"
	  "return {allow = true} end", { "t1/10-x.lua", "stopped after" } },
	{ "memory bomb of texts", "admission",
	  "function admission(c) local s = 'x' while true do s = s .. s end end",
	  { "t1/10-x.lua", "more memory than is allowed" } },
	{ "memory bomb of tables", "admission",
	  "function admission(c) local t = {} for i = 1, 1e9 do t[i] = {} end end",
	  { "t1/10-x.lua", "more memory than is allowed" } },
	{ "memory bomb in one call", "admission", "function admission(c) return ('x'):rep(1 << 30) end",
	  { "t1/10-x.lua", "more memory than is allowed" } },
	{ "not a table", "admission", "function admission(c) return true end",
	  { "t1/10-x.lua", "not a table" } },
	{ "a list", "admission", "function admission(c) return {'allow'} end", { "not a table" } },
	{ "no decision", "admission", "function admission(c) return {change = {}} end",
	  { "no field \"allow\"" } },
	{ "unknown field", "admission", "function admission(c) return {allow = true, alow = 1} end",
	  { "field \"alow\" that is not known" } },
	{ "allow", "admission", "function admission(c) return {allow = 'yes'} end",
	  { "\"allow\" is not true or false" } },
	{ "reason", "admission", "function admission(c) return {allow = false, reason = {}} end",
	  { "\"reason\" is not a text" } },
	{ "no reason", "admission", "function admission(c) return {allow = false} end",
	  { "without a field \"reason\"" } },
	{ "change", "admission", "function admission(c) return {allow = true, change = {'x'}} end",
	  { "\"change\" is not a table of" } },
	{ "change of the uid", "admission",
	  "function admission(c) return {allow = true, change = {uid = 'x'}} end",
	  { "\"uid\" is not allowed" } },
	{ "change below the account", "admission",
	  "function admission(c) return {allow = true, change = {['account.uid'] = 'x'}} end",
	  { "\"account.uid\" is not allowed" } },
	{ "change of where it reports to", "admission",
	  "function admission(c) return {allow = true, change = {planeUrl = 'x'}} end",
	  { "\"planeUrl\" is not allowed" } },
	{ "change by no path", "admission",
	  "function admission(c) return {allow = true, change = {['a..b'] = 1}} end", { "not a path" } },
	{ "change by an empty path", "admission",
	  "function admission(c) return {allow = true, change = {[''] = 1}} end", { "not a path" } },
	{ "change past the end of a list", "admission",
	  "function admission(c) return {allow = true, change = {['pools.1'] = {}}} end",
	  { "t1/10-x.lua", "\"pools.1\" names no element" } },
	{ "change of a list by a name", "admission",
	  "function admission(c) return {allow = true, change = {['pools.cp.size'] = 3}} end",
	  { "\"pools.cp.size\" leads through" } },
	{ "change of a type", "admission",
	  "function admission(c) return {allow = true, change = {['pools.0.size'] = '3'}} end",
	  { "puts a text where a number was" } },
	{ "two changes in one place", "admission",
	  "function admission(c) return {allow = true, change = {['a.b'] = {}, ['a.b.c'] = 1}} end",
	  { "\"a.b.c\" lies below another" } },
	{ "certificates", "ca_bundle", "function ca_bundle(c) return {certificates = 'x'} end",
	  { "\"certificates\" is not a list" } },
	{ "certificate without a name", "ca_bundle",
	  "function ca_bundle(c) return {certificates = {{pem = 'x'}}} end", { "not {name = text, pem = text}" } },
	{ "certificate that is none", "ca_bundle",
	  "function ca_bundle(c) return {certificates = {{name = 'corp', pem = 'x'}}} end",
	  { "certificate \"corp\"" } },
	{ "private key", "ca_bundle",
	  "function ca_bundle(c) return {certificates = {{name = 'k', pem = '-----BEGIN PRIVATE KEY-----'}}} end",
	  { "holds a private key" } },
	{ "httpProxy", "proxy", "function proxy(c) return {httpProxy = 1} end", { "\"httpProxy\" is not a text" } },
	{ "httpsProxy", "proxy", "function proxy(c) return {httpsProxy = 'ftp://x'} end",
	  { "\"httpsProxy\" is not a text http://" } },
	{ "noProxy", "proxy", "function proxy(c) return {noProxy = 'a,b'} end", { "\"noProxy\" is not a list" } },
	{ "noProxy entry", "proxy", "function proxy(c) return {noProxy = {'10.0.0.0/99'}} end",
	  { "\"noProxy\" is not", "10.0.0.0/99" } },
	{ "noProxy entry with a comma", "proxy", "function proxy(c) return {noProxy = {'a,b'}} end",
	  { "\"noProxy\" is not" } },
	{ "decision about a delete", "delete_guard", "function delete_guard(c) return {keepVolumes = {}} end",
	  { "no field \"allow\"" } },
	{ "refusal of a delete without a reason", "delete_guard",
	  "function delete_guard(c) return {allow = false} end", { "without a field \"reason\"" } },
	{ "volumes that are kept", "delete_guard",
	  "function delete_guard(c) return {allow = true, keepVolumes = {1}} end",
	  { "\"keepVolumes\" is not a list of names" } },
	{ "files", "node_bootstrap", "function node_bootstrap(c) return {files = {{path = '/x'}}} end",
	  { "\"files\" is not", "path and content" } },
	{ "file path", "node_bootstrap",
	  "function node_bootstrap(c) return {files = {{path = 'x', content = ''}}} end", { "from / on" } },
	{ "files", "node_bootstrap",
	  "function node_bootstrap(c) return {files = {{path = '/etc/Company: CA.crt', content = ''}}} end", { "without" } },
	{ "files", "node_bootstrap",
	  "function node_bootstrap(c) return {files = {{path = '/etc/a #1', content = ''}}} end", { "without" } },
	{ "files", "node_bootstrap",
	  "function node_bootstrap(c) return {files = {{path = '/' .. ('x'):rep(512), content = ''}}} end", { "512" } },
	{ "file permissions", "node_bootstrap",
	  "function node_bootstrap(c) return {files = {{path = '/x', content = '', permissions = 'rw'}}} end",
	  { "\"0644\"" } },
	{ "file owner", "node_bootstrap",
	  "function node_bootstrap(c) return {files = {{path = '/x', content = '', owner = 'a b'}}} end",
	  { "root:root" } },
	{ "file with one field more", "node_bootstrap",
	  "function node_bootstrap(c) return {files = {{path = '/x', content = '', mode = '1'}}} end",
	  { "\"files\" is not" } },
	{ "preKubeadmCommands", "node_bootstrap",
	  "function node_bootstrap(c) return {preKubeadmCommands = {1}} end",
	  { "\"preKubeadmCommands\" is not a list of texts" } },
	{ "postKubeadmCommands", "node_bootstrap",
	  "function node_bootstrap(c) return {postKubeadmCommands = {x = 'y'}} end",
	  { "\"postKubeadmCommands\" is not a list of texts" } },
	{ "a function in the result", "admission",
	  "function admission(c) return {allow = true, change = {a = {b = print or pairs}}} end",
	  { "result's change.a.b holds a function" } },
	{ "a table that holds itself", "admission",
	  "function admission(c) local t = {} t.t = t return t end", { "holds itself" } },
	{ "a list with a hole", "proxy", "function proxy(c) return {noProxy = {[1] = 'a', [3] = 'b'}} end",
	  { "result's noProxy holds a list with a hole" } },
	{ "list and record in one", "proxy", "function proxy(c) return {noProxy = {'a', x = 'b'}} end",
	  { "neither a list nor a record" } },
	{ "a key that is a table", "proxy", "function proxy(c) return {noProxy = {[{}] = 'a'}} end",
	  { "hole" } },
	{ "a zero byte in a name", "admission", "function admission(c) return {['allow\\0x'] = true} end",
	  { "a name with a zero byte" } },
	{ "a zero byte in a text", "admission",
	  "function admission(c) return {allow = false, reason = 'a\\0b'} end", { "reason holds a text with a zero" } },
	{ "a text that is no UTF-8", "admission",
	  "function admission(c) return {allow = false, reason = '\\xff'} end", { "not UTF-8" } },
	{ "not a number", "admission",
	  "function admission(c) return {allow = true, change = {a = 0/0}} end", { "not finite" } },
	{ "a huge list", "proxy",
	  "function proxy(c) local t = {} for i = 1, 30000 do t[i] = 'a' end return {noProxy = t} end",
	  { "more values than are allowed" } },
	{ "one text many times", "proxy",
	  "function proxy(c) local t, s = {}, ('a'):rep(1 << 19)\n"
	  "for i = 1, 1000 do t[i] = s end return {noProxy = t} end", { "more text than is allowed" } },
	{ "io", "admission", "function admission(c) return io.open('/etc/passwd') end", { "global 'io'" } },
	{ "os", "admission", "function admission(c) return os.execute('id') end", { "global 'os'" } },
	{ "debug", "admission", "function admission(c) return debug.getregistry() end", { "global 'debug'" } },
	{ "load", "admission", "function admission(c) return load('return 1') end", { "global 'load'" } },
	{ "dofile", "admission", "function admission(c) return dofile('/etc/passwd') end", { "global 'dofile'" } },
	{ "loadfile", "admission", "function admission(c) return loadfile('/x') end", { "global 'loadfile'" } },
	{ "require", "admission", "function admission(c) return require('os') end", { "global 'require'" } },
	{ "package", "admission", "function admission(c) return package.path() end", { "global 'package'" } },
	{ "coroutine", "admission", "function admission(c) return coroutine.wrap() end", { "global 'coroutine'" } },
	{ "collectgarbage", "admission", "function admission(c) collectgarbage() end", { "global 'collectgarbage'" } },
	{ "string.dump", "admission", "function admission(c) return string.dump(admission) end", { "field 'dump'" } },
	{ "chance", "admission", "function admission(c) return math.random() end", { "field 'random'" } },
};

START_TEST(fails_closed_and_names_script_line_and_rule)
{
	const struct wrong *w = &wrongs[_i];
	struct rig r;
	struct got g;
	struct buf report;

	rig_one(&r, w->script);
	rig_do(&r, &g, "t1", w->hook, SPEC);
	ck_assert_msg(g.failed, "%s: no error", w->name);
	ck_assert_msg(g.err.class == PCG_CLASS_PERMANENT, "%s: %s", w->name, g.err.text);
	ck_assert_msg(strstr(g.err.text, "t1/10-x.lua") && strstr(g.err.text, w->hook), "%s: %s", w->name,
		      g.err.text);
	for (unsigned i = 0; i < 3 && w->says[i]; i++)
		ck_assert_msg(strstr(g.err.text, w->says[i]), "%s: %s", w->name, g.err.text);
	ck_assert_str_ne(g.err.remedy, "");
	got_free(&g);
	buf_init(&report, 65536);
	/* The tenant goes on with a worker that works. */
	rig_write(&r, "t1/10-x.lua", "function admission(c) return {allow = true} end");
	ck_assert_msg(rig_reload(&r, &report) == 0, "%s", report.data);
	buf_free(&report);
	rig_do(&r, &g, "t1", "admission", SPEC);
	ck_assert(!g.failed && json_is_true(json_object_get(g.result, "allow")));
	got_free(&g);
	rig_end(&r);
}
END_TEST

static const struct right {
	const char *hook, *script, *input, *result;
} rights[] = {
	{ "admission", "function admission(c) end", SPEC, "null" },
	{ "admission", "function proxy(c) end", SPEC, "null" },
	{ "admission", "function admission(c) return {allow = c.name == 'c1'} end", SPEC, "{\"allow\":true}" },
	{ "admission", "function admission(c) return {allow = false, reason = 'no ' .. c.name} end", SPEC,
	  "{\"allow\":false,\"reason\":\"no c1\",\"script\":\"t1/10-x.lua\"}" },
	{ "admission", "function admission(c) return {allow = c.controlPlaneEndpoint == nil, change = "
	  "{['pools.0.size'] = 6 / 2, ['pools.0.labels.zone'] = 'a', ntpServers = {'n1'}, pools2 = c.pools}} end", SPEC,
	  "{\"allow\":true,\"change\":{\"pools.0.size\":3,\"pools.0.labels.zone\":\"a\",\"ntpServers\":[\"n1\"],"
	  "\"pools2\":[{\"name\":\"cp\",\"size\":1,\"controlPlane\":true,\"taints\":[],\"labels\":{}}]}}" },
	{ "proxy", "function proxy(c) return {} end", "{}", "{}" },
	{ "proxy", "function proxy(c) return {httpProxy = c.proxy.httpProxy, httpsProxy = '', noProxy = {}} end",
	  "{\"proxy\":{\"httpProxy\":\"http://p:3128\"}}",
	  "{\"httpProxy\":\"http://p:3128\",\"httpsProxy\":\"\",\"noProxy\":[]}" },
	{ "ca_bundle", "function ca_bundle(c) return {certificates = {}} end", "{\"certificates\":[]}",
	  "{\"certificates\":[]}" },
	{ "ca_bundle", "function ca_bundle(c) return {certificates = c.certificates} end", "{\"certificates\":[]}",
	  "{\"certificates\":[]}" },
	{ "node_bootstrap", "function node_bootstrap(c) return {files = {{path = '/etc/x', content = 'ä', owner = "
	  "'root:root', permissions = '0600'}}, preKubeadmCommands = {'a'}, postKubeadmCommands = {}} end", "{}",
	  "{\"files\":[{\"path\":\"/etc/x\",\"content\":\"ä\",\"owner\":\"root:root\",\"permissions\":\"0600\"}],"
	  "\"preKubeadmCommands\":[\"a\"],\"postKubeadmCommands\":[]}" },
	{ "admission", "local ok, e = pcall(error, {}) pcg.log('x') function admission(c) return {allow = not ok} end",
	  SPEC, "{\"allow\":true}" },
	{ "admission", "n = (n or 0) + 1 function admission(c) string.x = (string.x or 0) + 1\n"
	  "return {allow = n == 1 and string.x == 1} end", SPEC, "{\"allow\":true}" },
};

START_TEST(a_good_result_comes_back_as_it_was_meant)
{
	const struct right *w = &rights[_i];
	struct rig r;
	struct got g;

	rig_one(&r, w->script);
	/* Twice: each evaluation has a state of its own. */
	for (int i = 0; i < 2; i++) {
		json_t *want = json_loads(w->result, JSON_DECODE_ANY, NULL);

		rig_do(&r, &g, "t1", w->hook, w->input);
		ck_assert_msg(!g.failed, "%s: %s", w->script, g.err.text);
		ck_assert_ptr_nonnull(want);
		if (json_is_null(want) ? g.result != NULL : !json_equal(want, g.result))
			ck_abort_msg("%s: %s", w->script, json_text(g.result));
		json_decref(want);
		got_free(&g);
	}
	rig_end(&r);
}
END_TEST

static const struct joined {
	const char *hook, *first, *second, *input, *result;
} joins[] = {
	{ "admission", "function admission(c) return {allow = true, change = {a = 1, ['l.x'] = 1}} end",
	  "function admission(c) return {allow = c.a == 1 and c.l.x == 1, change = {a = 2, l = {y = 2}}} end", "{}",
	  "{\"allow\":true,\"change\":{\"a\":2,\"l\":{\"y\":2}}}" },
	{ "admission", "function admission(c) return {allow = false, reason = 'first'} end",
	  "function admission(c) return {allow = true} end", "{}",
	  "{\"allow\":false,\"reason\":\"first\",\"script\":\"_all/50-a.lua\"}" },
	{ "admission", "function admission(c) return {allow = true, change = {a = 1}} end",
	  "function admission(c) return {allow = false, reason = 'second'} end", "{}",
	  "{\"allow\":false,\"reason\":\"second\",\"script\":\"t1/10-b.lua\"}" },
	{ "proxy", "function proxy(c) return {noProxy = {'a'}} end",
	  "function proxy(c) local n = c.proxy.noProxy n[#n + 1] = c.proxy.httpProxy:match('//(%a+)')\n"
	  "return {noProxy = n} end", "{\"proxy\":{\"httpProxy\":\"http://p:1\"}}", "{\"noProxy\":[\"a\",\"p\"]}" },
	{ "proxy", "function proxy(c) return {httpProxy = 'http://a:1'} end",
	  "function proxy(c) return {httpsProxy = c.proxy.httpProxy} end", "{\"proxy\":null}",
	  "{\"httpProxy\":\"http://a:1\",\"httpsProxy\":\"http://a:1\"}" },
	{ "node_bootstrap", "function node_bootstrap(c) return {preKubeadmCommands = {'a'}} end",
	  "function node_bootstrap(c) return {preKubeadmCommands = {'b'}} end", "{}",
	  "{\"preKubeadmCommands\":[\"a\",\"b\"]}" },
};

START_TEST(scripts_follow_each_other_those_of_all_tenants_first)
{
	const struct joined *j = &joins[_i];
	struct rig r;
	struct got g;
	json_t *want = json_loads(j->result, 0, NULL);

	rig_begin(&r);
	rig_write(&r, "_all/50-a.lua", j->first);
	rig_write(&r, "t1/10-b.lua", j->second);
	rig_open(&r);
	rig_do(&r, &g, "t1", j->hook, j->input);
	ck_assert_msg(!g.failed, "%s: %s", j->second, g.err.text);
	if (!json_equal(want, g.result))
		ck_abort_msg("%s: %s", j->second, json_text(g.result));
	json_decref(want);
	got_free(&g);
	rig_end(&r);
}
END_TEST

START_TEST(changes_apply_whole_or_name_the_path)
{
	AUTO_JSON json_t *spec = json_pack("{s:[{s:i}],s:{},s:n}", "pools", "size", 1, "labels", "end");
	AUTO_JSON json_t *good = json_pack("{s:i,s:{s:s},s:s}", "pools.0.size", 3, "labels", "a", "b", "end.host", "h");
	AUTO_JSON json_t *bad = json_pack("{s:i}", "pools.7.size", 3);
	struct pcg_error err;

	ck_assert_int_eq(policy_changes_apply(spec, good, &err), 0);
	ck_assert_int_eq(json_int_or(spec, "pools.0.size", 0), 3);
	ck_assert_str_eq(json_str(spec, "labels.b") ? "" : json_str(spec, "labels.a"), "b");
	ck_assert_str_eq(json_str(spec, "end.host"), "h");
	ck_assert_int_lt(policy_changes_apply(spec, bad, &err), 0);
	ck_assert_ptr_nonnull(strstr(err.text, "pools.7.size"));
}
END_TEST

TCase *language_cases(void)
{
	TCase *c = tcase_create("language");

	tcase_set_timeout(c, 20);
	tcase_add_loop_test(c, fails_closed_and_names_script_line_and_rule, 0, ARRAY_LEN(wrongs));
	tcase_add_loop_test(c, a_good_result_comes_back_as_it_was_meant, 0, ARRAY_LEN(rights));
	tcase_add_loop_test(c, scripts_follow_each_other_those_of_all_tenants_first, 0, ARRAY_LEN(joins));
	tcase_add_test(c, changes_apply_whole_or_name_the_path);
	return c;
}
