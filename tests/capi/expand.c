/* SPDX-License-Identifier: Apache-2.0 */
/* For test-render: {"texts","variables"} on standard input, [{"text"} or {"error"}] on standard output. */
#include "config.h"
#include "host/capi/envsubst.h"

#include <stdio.h>
#include <string.h>

int main(void)
{
	json_t *in = json_loadf(stdin, 0, NULL), *out = json_array(), *t;
	size_t i;

	json_array_foreach (json_object_get(in, "texts"), i, t) {
		struct pcg_error err;
		struct buf text;

		buf_init(&text, 1 << 20);
		if (envsubst_expand(json_string_value(t), json_string_length(t), "text",
				    json_object_get(in, "variables"), &text, &err))
			json_array_append_new(out, json_pack("{s:s}", "error", err.text));
		else
			json_array_append_new(out,
					      json_pack("{s:s%}", "text", text.data ? text.data : "",
							text.len));
		buf_free(&text);
	}
	json_dumpf(out, stdout, 0);
	json_decref(out);
	json_decref(in);
	return 0;
}
