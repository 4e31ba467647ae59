# SPDX-License-Identifier: Apache-2.0
"""The shapes that programs may rely on: check_json.py COMMAND [EXPECTED...] <output"""
import json
import re
import sys

TIME = re.compile(r'^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$')


def must(value, kinds, what):
    if not isinstance(value, kinds) or (isinstance(value, bool) and kinds is int):
        sys.exit(f'{what} is {value!r}')
    return value


def time(value, what, optional=False):
    if value is None and optional:
        return
    if not TIME.match(must(value, str, what)):
        sys.exit(f'{what} is {value!r}, no time')


def cluster(c):
    for key in 'uid', 'name', 'phase', 'provider', 'account':
        if not must(c.get(key), str, key):
            sys.exit(f'{key} is empty')
    for key in 'generation', 'epoch':
        must(c.get(key), int, key)
    for k in must(c.get('conditions'), list, 'conditions'):
        missing = {'type', 'status', 'since', 'nextTry', 'cause', 'remedy'} - set(k)
        if missing:
            sys.exit(f'a condition has no {missing}')
        if k['status'] not in ('True', 'False', 'Unknown'):
            sys.exit(f'status is {k["status"]!r}')
        time(k['since'], 'since')
        time(k['nextTry'], 'nextTry', optional=True)
    if c['phase'] not in ('Running', 'Deleted') and not c['conditions']:
        sys.exit(f'no condition in phase {c["phase"]}')
    for m in must(c.get('machines'), list, 'machines'):
        for key in 'uid', 'name', 'pool', 'providerID', 'address':
            must(m.get(key), str, f'machine {key}')


def items(d, *members):
    for item in must(d.get('items'), list, 'items'):
        for m in members:
            must(item.get(m), str, m)
    return d['items']


def status(d):
    for key in 'version', 'uid', 'since', 'plane':
        must(d.get(key), str, key)
    time(d['since'], 'since')
    if must(d['link'].get('state'), str, 'link.state') != 'connected':
        sys.exit(f'link is {d["link"]}')
    must(d.get('confinement'), dict, 'confinement')
    must(d['clusters'].get('clusters'), int, 'clusters')


def show(d):
    cluster(d)
    if d['phase'] == 'Running' and not any(re.match(r'sim://', m['providerID']) and m['address'] for m in d['machines']):
        sys.exit('no machine with provider id and address')


def cluster_list(d):
    if [c['name'] for c in d['items']] != ['one']:
        sys.exit(f'clusters: {d["items"]}')
    for c in d['items']:
        cluster(c)


def history(d):
    seen = [e['event'] for e in items(d, 'at', 'event')]
    for e in d['items']:
        time(e['at'], 'at')
    if seen[0] != 'instructed' or 'handed_over' not in seen:
        sys.exit(f'history: {seen}')
    if [e['at'] for e in d['items']] != sorted(e['at'] for e in d['items']):
        sys.exit('history is not in order')


def audit(d, *expected):
    found = items(d, 'class', 'id', 'name', 'cluster')
    if len(found) != len(expected):
        sys.exit(f'audit found {found}')
    for e in expected:
        kind, name, owner = e.split(':')
        if not any(i['class'] == kind and i['name'].startswith(name) and i['cluster'] == owner and i['id'] for i in found):
            sys.exit(f'audit did not find {e}: {found}')


def watch(text, name, phases):
    seen, notes = [], []
    for line in text.splitlines():
        c = json.loads(line)
        cluster(c)
        if 'note' in c:
            notes.append(must(must(c['note'], dict, 'note').get('event'), str, 'event'))
        if c['name'] == name and (not seen or seen[-1] != c['phase']):
            seen.append(c['phase'])
    if seen[0] == 'Pending':
        seen.pop(0)
    if seen != phases.split(','):
        sys.exit(f'phases: {seen}')
    if 'object' not in notes:
        sys.exit(f'no object of the pivot is told: {notes}')


command, text = sys.argv[1], sys.stdin.read()
if command == 'watch':
    watch(text, *sys.argv[2:])
    sys.exit()
document = json.loads(text)
{
    'status': status,
    'cluster list': cluster_list,
    'cluster show': show,
    'cluster history': history,
    'plugin list': lambda d: items(d, 'name', 'version', 'abi', 'path', 'state'),
    'plugin rescan': lambda d: items(d, 'name', 'path', 'state'),
    'policy list': lambda d: must(d, dict, 'policy list'),
    'audit': audit,
    'reload': lambda d: must(d.get('message'), str, 'message'),
}[command](document, *sys.argv[2:])
