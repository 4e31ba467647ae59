/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"
#include "host/bootstrap/node_files.h"

#include "core/attr.h"
#include "core/base64.h"
#include "host/bootstrap/jinja.h"

#include <string.h>

#define CONTENT_MAX 10240 /* of one file in Cluster API's KubeadmConfig */
#define CHUNK_RAW 7500    /* its base64 has 10000 characters */
#define FILES_MAX 200
#define PATH_LEN_MAX 512
#define COMMANDS_MAX 1000
#define COMMAND_MAX 10240

/* Cluster API writes content as a YAML block ("|") without looking at it: what does not survive
 * that, or jinja, travels as base64. */
static bool block_exact(const char *s, size_t len)
{
	if (len == 0 || len > CONTENT_MAX || s[len - 1] != '\n')
		return false;
	if (len == 1 || s[len - 2] == '\n' || s[0] == ' ' || s[0] == '\t' || s[0] == '\n')
		return false;
	for (size_t i = 0; i < len; i++) {
		unsigned char c = (unsigned char)s[i];

		if (c != '\n' && c != '\t' && (c < 0x20 || c > 0x7e))
			return false;
		if (c == '\n' && i && (s[i - 1] == ' ' || s[i - 1] == '\t'))
			return false;
	}
	return !jinja_touches(s);
}

static json_t *file_entry(const char *path, const char *permissions, const char *owner)
{
	return json_pack("{s:o, s:s, s:s}", "path", jinja_json(path), "owner", owner, "permissions",
			 permissions);
}

void node_files_add(struct node_files *n, const char *path, const char *permissions,
		    const char *owner, bool append, const char *content)
{
	size_t len = strlen(content), done = 0;
	json_t *f;

	if (block_exact(content, len)) {
		f = file_entry(path, permissions, owner);
		if (append)
			json_object_set_new(f, "append", json_true());
		json_object_set_new(f, "content", json_string(content));
		json_array_append_new(n->files, f);
		return;
	}
	do {
		size_t part = len - done < CHUNK_RAW ? len - done : CHUNK_RAW;
		AUTO_FREE char *text = base64_encode(content + done, part);

		f = file_entry(path, permissions, owner);
		json_object_set_new(f, "encoding", json_string("base64"));
		if (append || done)
			json_object_set_new(f, "append", json_true());
		json_object_set_new(f, "content", json_string(text));
		json_array_append_new(n->files, f);
		done += part;
	} while (done < len);
}

void node_files_command(json_t *list, const char *command)
{
	if (*command)
		json_array_append_new(list, jinja_json(command));
}

static void add_commands(json_t *list, const json_t *commands)
{
	size_t i;
	json_t *c;

	json_array_foreach (commands, i, c)
		if (json_is_string(c))
			node_files_command(list, json_string_value(c));
}

/* Files of the profile say targetPath, targetOwner, targetPermissions; those of a policy path,
 * owner, permissions. A file without content is one that the image has. */
static void add_files(struct node_files *n, const json_t *files)
{
	size_t i;
	json_t *f;

	json_array_foreach (files, i, f) {
		const char *path = json_str_or(f, "targetPath", json_str(f, "path"));
		const char *owner =
			json_str_or(f, "targetOwner", json_str_or(f, "owner", "root:root"));
		const char *mode =
			json_str_or(f, "targetPermissions", json_str_or(f, "permissions", "0644"));
		const char *content = json_str(f, "content");

		if (path && content && *content)
			node_files_add(n, path, mode, owner, false, content);
	}
}

/* kubeadm takes the node's name from the hostname, and Cluster API finds it by the machine's name.
 */
static void add_hostname(struct node_files *n)
{
	static const char *const commands[] = {
		"hostnamectl set-hostname \"{{ local_hostname }}\" || hostname \"{{ local_hostname "
		"}}\"",
		"grep -qw \"{{ local_hostname }}\" /etc/hosts || "
		"echo \"127.0.1.1 {{ local_hostname }}\" >>/etc/hosts",
	};

	for (size_t i = 0; i < ARRAY_LEN(commands); i++)
		json_array_append_new(n->pre, json_string(commands[i]));
}

/* containerd reads proxy and certificates when it starts. */
static void add_runtime_restart(struct node_files *n)
{
	if (json_array_size(n->files) == 0)
		return;
	node_files_command(n->pre, "systemctl daemon-reload");
	node_files_command(n->pre, "systemctl restart containerd");
}

static int check_files(const json_t *files, struct pcg_error *err)
{
	size_t i, n = json_array_size(files);
	json_t *f;

	if (n > FILES_MAX)
		return pcg_fail(err, PCG_CLASS_PERMANENT,
				"let the profile and the policies give fewer or smaller files and certificates",
				"nodes would be given %zu files (each certificate is one, a long file one for each "
				"%d bytes); Cluster API takes %d",
				n, CHUNK_RAW, FILES_MAX);
	json_array_foreach (files, i, f)
		if (json_string_length(json_object_get(f, "path")) > PATH_LEN_MAX)
			return pcg_fail(err, PCG_CLASS_PERMANENT, "give the file a shorter path",
					"the path \"%.64s...\" has more than the %d characters that Cluster API takes",
					json_str_or(f, "path", ""), PATH_LEN_MAX);
	return 0;
}

static int check_commands(const json_t *commands, const char *what, struct pcg_error *err)
{
	size_t i;
	json_t *c;

	if (json_array_size(commands) > COMMANDS_MAX)
		return pcg_fail(err, PCG_CLASS_PERMANENT, "put them into a file and run that",
				"%zu %s for the nodes; Cluster API takes %d", json_array_size(commands), what,
				COMMANDS_MAX);
	json_array_foreach (commands, i, c)
		if (json_string_length(c) > COMMAND_MAX)
			return pcg_fail(err, PCG_CLASS_PERMANENT, "put it into a file and run that",
					"one of %s, \"%.64s...\", has %zu characters; Cluster API takes %d", what,
					json_string_value(c), json_string_length(c), COMMAND_MAX);
	return 0;
}

/* What the object of a control plane cannot hold must not become a node that is never handed over. */
static int check_limits(const struct node_files *n, struct pcg_error *err)
{
	int r = check_files(n->files, err);

	if (!r)
		r = check_commands(n->pre, "preKubeadmCommands", err);
	return r ? r : check_commands(n->post, "postKubeadmCommands", err);
}

int node_files_collect(const json_t *input, bool control_plane, struct node_files *out,
		       struct pcg_error *err)
{
	const json_t *config = json_at(input, "spec.kubeadmConfig");
	int r;

	*out = (struct node_files){json_array(), json_array(), json_array()};
	r = node_files_add_certificates(out, input, err);
	if (!r)
		r = node_files_add_proxy(out, input, err);
	add_runtime_restart(out);
	add_hostname(out);
	if (!r && control_plane)
		r = node_files_add_kube_vip(out, input, err);
	if (r) {
		node_files_free(out);
		return r;
	}
	node_files_add_provider_id(out, input);
	add_files(out, json_at(config, "files"));
	add_files(out, json_at(input, "files"));
	add_commands(out->pre, json_at(config, "preKubeadmCommands"));
	add_commands(out->pre, json_at(input, "preKubeadmCommands"));
	add_commands(out->post, json_at(config, "postKubeadmCommands"));
	add_commands(out->post, json_at(input, "postKubeadmCommands"));
	r = check_limits(out, err);
	if (r)
		node_files_free(out);
	return r;
}

void node_files_free(struct node_files *n)
{
	json_decref(n->files);
	json_decref(n->pre);
	json_decref(n->post);
	*n = (struct node_files){0};
}
