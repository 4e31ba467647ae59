/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "plugins/vsphere/fault.h"

#include <stdio.h>
#include <string.h>

#define WAITS "Nothing: it is tried again."
#define ASK_ADMIN "Give the account's role that privilege on the object."

static const struct fault {
	const char *type;
	uint32_t class;
	const char *text, *remedy;
} faults[] = {
	{ "InvalidLogin", PCG_ERR_AUTH, "user name or password is wrong",
	  "Correct username and password of the cloud account." },
	{ "NotAuthenticated", PCG_ERR_RETRY, "the session is over", WAITS },
	{ "NoPermission", PCG_ERR_AUTH, "the user may not do that", ASK_ADMIN },
	{ "RestrictedByAdministrator", PCG_ERR_AUTH, "an administrator forbade it", ASK_ADMIN },
	{ "PasswordExpired", PCG_ERR_AUTH, "the user's password has expired",
	  "Change the password in vCenter, then in the cloud account." },
	{ "DuplicateName", PCG_ERR_CONFLICT, "the name is taken there",
	  "Remove or rename the object of that name, or choose another name." },
	{ "AlreadyExists", PCG_ERR_CONFLICT, "it exists already", "Remove the other one, or choose another name." },
	{ "NoDiskSpace", PCG_ERR_QUOTA, "the datastore has no space left",
	  "Free space on the datastore, or choose another one." },
	{ "InsufficientStorageSpace", PCG_ERR_QUOTA, "the datastore has no space left",
	  "Free space on the datastore, or choose another one." },
	{ "InsufficientResourcesFault", PCG_ERR_QUOTA, "the compute cluster has no room for the machine",
	  "Add hosts, or free processors and memory there." },
	{ "InsufficientCpuResourcesFault", PCG_ERR_QUOTA, "the resource pool has no processors left",
	  "Raise the pool's limit, or stop machines in it." },
	{ "InsufficientMemoryResourcesFault", PCG_ERR_QUOTA, "the resource pool has no memory left",
	  "Raise the pool's limit, or stop machines in it." },
	{ "InsufficientHostCapacityFault", PCG_ERR_QUOTA, "no host has room for the machine",
	  "Add hosts, or free processors and memory there." },
	{ "InsufficientFailoverResourcesFault", PCG_ERR_QUOTA, "the machine would take what high availability reserves",
	  "Add hosts, or change admission control of the compute cluster." },
	{ "NoCompatibleHost", PCG_ERR_QUOTA, "no host can run the machine",
	  "Check that the compute cluster has hosts that reach datastore and network." },
	{ "ManagedObjectNotFound", PCG_ERR_NOT_FOUND, "the object is gone", "Nothing, if somebody removed it on purpose." },
	{ "FileNotFound", PCG_ERR_PERMANENT, "a file of the template is missing",
	  "Import the template again." },
	{ "FileLocked", PCG_ERR_RETRY, "a file is in use", WAITS },
	{ "TaskInProgress", PCG_ERR_RETRY, "another task works on the object", WAITS },
	{ "ConcurrentAccess", PCG_ERR_RETRY, "somebody else changed the object at the same time", WAITS },
	{ "InvalidPowerState", PCG_ERR_RETRY, "the machine's power state does not allow that", WAITS },
	{ "InvalidState", PCG_ERR_RETRY, "the object's state does not allow that now", WAITS },
	{ "ResourceInUse", PCG_ERR_RETRY, "the object is in use", WAITS },
	{ "HostNotConnected", PCG_ERR_RETRY, "the host is not connected to vCenter", "Reconnect the host in vCenter." },
	{ "HostCommunication", PCG_ERR_RETRY, "vCenter does not reach the host", "Check the host in vCenter." },
	{ "CannotAccessFile", PCG_ERR_RETRY, "the host does not reach a file of the machine",
	  "Check that the host sees the datastore." },
	{ "InaccessibleDatastore", PCG_ERR_RETRY, "the datastore is not accessible", "Check the datastore in vCenter." },
	{ "RequestCanceled", PCG_ERR_RETRY, "the task was cancelled in vCenter", WAITS },
	{ "Timedout", PCG_ERR_RETRY, "the task ran out of time", WAITS },
	{ "InvalidArgument", PCG_ERR_PERMANENT, "an argument is not what vCenter takes",
	  "Check the pool's cloudConfig against the template (processors, memory, disk, network)." },
	{ "InvalidDeviceSpec", PCG_ERR_PERMANENT, "the template's devices cannot be changed like that",
	  "Check that the template has one disk that is not larger than diskGiB." },
	{ "InvalidVmConfig", PCG_ERR_PERMANENT, "the machine's configuration is not valid",
	  "Check the pool's cloudConfig against the template." },
	{ "InvalidName", PCG_ERR_PERMANENT, "vCenter does not take the name", "Choose another name." },
	{ "NotSupported", PCG_ERR_PERMANENT, "vCenter does not support that on the object",
	  "Check the version of vCenter and what the placement names." },
	{ "LicenseRestricted", PCG_ERR_PERMANENT, "the licence does not allow that", "Assign a licence that does." },
	{ "LicenseExpired", PCG_ERR_PERMANENT, "the licence has expired", "Renew the licence in vCenter." },
};

void vs_fault(struct vs_err *err, const char *what, const char *type, const char *message)
{
	const struct fault *f = NULL;

	for (size_t i = 0; i < sizeof(faults) / sizeof(faults[0]); i++)
		if (strcmp(faults[i].type, type) == 0)
			f = &faults[i];
	if (!message)
		message = "";
	if (f)
		vs_fail(err, f->class, f->remedy, "%s: %s (%s%s%s)", what, f->text, type, *message ? ": " : "", message);
	else
		vs_fail(err, PCG_ERR_RETRY, "Look at the task in vCenter.", "%s: vCenter answered %s%s%s", what,
			*type ? type : "a fault without type", *message ? ": " : "", message);
	snprintf(err->fault, sizeof(err->fault), "%s", type);
}
