# SPDX-License-Identifier: Apache-2.0
# The constants of the shipped policies as somebody might fill them in: see the tests beside.
s/^local PROJECTS = {} /local PROJECTS = { production = true, staging = true } /
s/^local NO_PROXY = {}$/local NO_PROXY = { production = { ".prod.example.com", "registry.example.com" } }/
s/^local DIRECT = ""$/local DIRECT = "lab-"/
s/^local NAMES = "" /local NAMES = "^[a-z][a-z0-9-]*$" /
s/^local MAX_NODES = 0 /local MAX_NODES = 100 /
s/^local OLDEST_MINOR = 0 /local OLDEST_MINOR = 31 /
s/^local NTP = {} /local NTP = { "ntp1.example.com", "ntp2.example.com" } /
s/^local THREE = {} /local THREE = { production = true } /
s/^local NOTICE = ""$/local NOTICE = "{name} ({project}): managed by the private cloud gateway; changes by hand are lost."/
s/^local LOG_SERVER, LOG_PROJECTS = "", {}$/local LOG_SERVER, LOG_PROJECTS = "logs.example.com:6514", { production = true }/
s/^local CAREFUL = {}$/local CAREFUL = { production = true }/
s/^local KEEP = {}$/local KEEP = { databases = true }/
/^local COMPANY_CA = \[\[$/r company-ca.pem
