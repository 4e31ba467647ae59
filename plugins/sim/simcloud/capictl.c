/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "plugins/sim/simcloud/kapi.h"

void capictl_run(struct kapi *k)
{
}
