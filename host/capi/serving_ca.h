/* SPDX-License-Identifier: Apache-2.0 */
#ifndef HOST_CAPI_SERVING_CA_H
#define HOST_CAPI_SERVING_CA_H

/*
 * Controllers make a certificate authority anew without a word when they find none, or trust a wrong
 * one: joins would then fail long after the hand-over. So what is written must be what serves.
 */

#include "core/error.h"
#include "core/json.h"

/* plan as capi_objects_build makes it. 0: the Secret of its CA holds the certificate serving_pem; else err
 * says which two differ. */
int serving_ca_check(const json_t *plan, const char *serving_pem, struct pcg_error *err);

#endif
