/* SPDX-License-Identifier: Apache-2.0 */
#ifndef HOST_PROVIDER_TRIAL_H
#define HOST_PROVIDER_TRIAL_H

/*
 * An account worker under trial (pcgctl plugin verify): it tells what its plugin asks for, and dies where it is told
 * to. A gateway's workers are never under trial; to them it is one comparison of a pointer for a request.
 *
 * In the hello frame: "trial": {"kill": {"n","when":"before|sent|answered"}|null, "read":[pattern], "session":[pattern],
 * "change":[pattern]}. A request is named "METHOD /path?query", a SOAP request "SOAP Operation", and is of one class:
 *   read     changes nothing
 *   session  makes or ends what lasts as long as a session (a login, a view): counted, nothing that stays
 *   change   anything else: counted
 * By the patterns (fnmatch), change before session before read; else SOAP by the operation's name, others by
 * their method: GET, HEAD and OPTIONS read.
 *
 * Told in frames {"t":"trial","what":...}:
 *   loaded   {"settings","caps","maxParallel"}
 *   request  {"n" (0 for class read),"class","request","op"}, before it is sent
 *   killed   {"n","request"}: the last that this worker says
 *   log      {"level","event","fields":text|null}: in place of the log
 *   secret   {"text"}: the plugin gave a secret of the account to log() or error(); the text without it
 */

#include "core/json.h"
#include "net/http_client.h"

struct pcg_call;
struct pcg_host;
struct trial;

enum trial_when { TRIAL_NEVER, TRIAL_BEFORE, TRIAL_SENT, TRIAL_ANSWERED };

struct trial *trial_new(const json_t *doc);
/* Any thread, lock not held. Returns when the worker has to die by trial_die: TRIAL_SENT or TRIAL_ANSWERED; or does not
 * return. */
enum trial_when trial_request(struct pcg_host *h, const struct pcg_call *call, const struct http_request *req);
void trial_die(struct pcg_host *h) __attribute__((noreturn));
void trial_loaded(struct pcg_host *h);
void trial_log(struct pcg_host *h, uint32_t level, const char *event, const char *fields);
void trial_secret(struct pcg_host *h, const char *clean);

#endif
