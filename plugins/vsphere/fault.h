/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PLUGINS_VSPHERE_FAULT_H
#define PLUGINS_VSPHERE_FAULT_H

#include "plugins/vsphere/soap.h"

/* Fills err with what fault type means, its class and remedy; what is tried ("CloneVM_Task"), message
 * is the server's own, may be "". A type that is not known keeps its name and message. */
void vs_fault(struct vs_err *err, const char *what, const char *type, const char *message);

#endif
