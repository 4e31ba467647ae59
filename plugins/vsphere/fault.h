/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PLUGINS_VSPHERE_FAULT_H
#define PLUGINS_VSPHERE_FAULT_H

#include "plugins/vsphere/soap.h"

/* Fills err with what fault type means, its class and remedy; what is tried ("CloneVM_Task"), message
 * is the server's own, may be "". A type that is not known keeps its name and message. */
void vs_fault(struct vs_err *err, const char *what, const char *type, const char *message);
/* The same of a fault as it came, with what it says of itself (privilege, object, file, ..). Its type is in xsi, or is
 * the name of the element with "Fault" behind it. NULL: one without type. */
void vs_fault_of(struct vs_err *err, const char *what, const struct xn *fault, const char *message);
/* The types of fault_types.def one after the other; NULL behind the last. */
const char *vs_fault_type(size_t i);

#endif
