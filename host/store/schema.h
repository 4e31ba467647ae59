/* SPDX-License-Identifier: Apache-2.0 */
#ifndef HOST_STORE_SCHEMA_H
#define HOST_STORE_SCHEMA_H

#define STORE_VERSION 1
#define STORE_APPLICATION_ID 0x70636764u /* "pcgd" */

/* meta       identity, cursor, high-water marks (promise 1)
 * accounts   credentials as the plane gave them, sealed (promise 5)
 * secrets    what plugins and the link keep: session cookies, the client key; sealed
 * clusters   intent and state of each cluster: the one truth (promise 2)
 * machines   intent, durable with name before the first side effect (promise 2)
 * history    append-only, explains every side effect (promise 6); the middle of a very long one is left out
 * reports    the queue to the plane (promise 1) */
#define STORE_SCHEMA                                                                               \
	"CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;"             \
	"CREATE TABLE accounts (uid TEXT PRIMARY KEY, generation INTEGER NOT NULL,"                \
	" document BLOB NOT NULL);"                                                                \
	"CREATE TABLE secrets (account TEXT NOT NULL, name TEXT NOT NULL, value BLOB NOT NULL,"    \
	" PRIMARY KEY (account, name));"                                                           \
	"CREATE TABLE clusters (uid TEXT PRIMARY KEY, name TEXT NOT NULL, tenant TEXT,"            \
	" project TEXT, account TEXT, phase TEXT NOT NULL, task TEXT, desired TEXT NOT NULL,"      \
	" generation INTEGER NOT NULL, epoch INTEGER NOT NULL, state TEXT NOT NULL,"               \
	" spec BLOB, recovery BLOB);"                                                              \
	"CREATE TABLE machines (uid TEXT PRIMARY KEY, cluster TEXT NOT NULL, name TEXT NOT NULL,"  \
	" pool TEXT, role TEXT, state TEXT NOT NULL, op TEXT, observed TEXT, checkpoint TEXT);"    \
	"CREATE INDEX machines_cluster ON machines (cluster);"                                     \
	"CREATE TABLE history (id INTEGER PRIMARY KEY AUTOINCREMENT, cluster TEXT NOT NULL,"       \
	" name TEXT NOT NULL, at INTEGER NOT NULL, event TEXT NOT NULL, fields TEXT);"             \
	"CREATE INDEX history_cluster ON history (cluster);"                                       \
	"CREATE INDEX history_name ON history (name);"                                             \
	"CREATE TABLE reports (seq INTEGER PRIMARY KEY, kind TEXT NOT NULL, key TEXT,"             \
	" document BLOB NOT NULL);"                                                                \
	"CREATE INDEX reports_key ON reports (key);"

#endif
