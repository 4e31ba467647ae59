# SPDX-License-Identifier: Apache-2.0
# Sourced by quickstart, check and .ci/run: packages of the machine, and builds below build/.
#
# The generated parts of the build system go below build/ too: build/src is a tree of links to
# the sources, and autoreconf runs there.
# shellcheck shell=bash

top=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
build=$top/build
me=${me:-$(basename "$0")}

say()
{
	printf '==> %s\n' "$*"
}

die()
{
	printf '%s: %s\n' "$me" "$*" >&2
	exit 1
}

# package_names SECTION...: the lines of scripts/packages for these.
package_names()
{
	local section name
	while read -r section name; do
		[[ " $* " != *" $section "* ]] || printf '%s\n' "$name"
	done <"$top/scripts/packages"
}

installed()
{
	[[ $(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null) == installed ]]
}

any_installed()
{
	local name
	for name in ${1//|/ }; do
		! installed "$name" || return 0
	done
	return 1
}

# The first of the alternatives that the release has.
choose_package()
{
	local name
	for name in ${1//|/ }; do
		if apt-cache show "$name" >/dev/null 2>&1; then
			printf '%s\n' "$name"
			return
		fi
	done
	die "none of the packages ${1//|/, } is in this release's package lists"
}

# configure takes no such working directory, and says so only in its log.
check_path()
{
	case $build in
	*[\\\"\#\$\&\'\`$'\n']*)
		die "a path with one of \\ \" # \$ & ' \` or a line end in it cannot be built in: move or clone this" \
			"to another one than $top" ;;
	esac
}

as_root()
{
	if ((EUID == 0)); then "$@"; else sudo "$@"; fi
}

apt()
{
	as_root env DEBIAN_FRONTEND=noninteractive apt-get -q -o DPkg::Lock::Timeout=900 "$@"
}

# Two scripts may find the same package missing at once; apt's own locks do not wait for lists.
apt_locked()
{
	local lock
	mkdir -p "$build"
	exec {lock}>"$build/.apt-lock"
	flock "$lock"
	apt "$@" {lock}>&-
	exec {lock}>&-
}

# need_packages SECTION...: installs what is missing of these sections.
need_packages()
{
	local entry missing=() names=()
	command -v dpkg-query >/dev/null && command -v apt-get >/dev/null || {
		say "packages: no Debian or Ubuntu here, taking them for granted (list: scripts/packages)"
		return
	}
	while read -r entry; do
		any_installed "$entry" || missing+=("$entry")
	done < <(package_names "$@")
	if ((${#missing[@]} == 0)); then
		say "packages: everything is there"
		return
	fi
	if ((EUID != 0)) && ! command -v sudo >/dev/null; then
		for entry in "${missing[@]}"; do
			names+=("$(choose_package "$entry" 2>/dev/null || echo "${entry%%|*}")")
		done
		die "packages are missing, and this is neither root nor is sudo here; as root:" \
			"apt-get update && apt-get install --no-install-recommends ${names[*]}"
	fi
	say "packages: installing ${missing[*]//|/ or }"
	mkdir -p "$build/logs"
	{ apt_locked update || apt_locked update; } >"$build/logs/apt.log" 2>&1 ||
		die "apt-get update failed; see $build/logs/apt.log"
	for entry in "${missing[@]}"; do
		names+=("$(choose_package "$entry")") || exit 1
	done
	apt_locked install -y --no-install-recommends "${names[@]}" >>"$build/logs/apt.log" 2>&1 || {
		tail -n 20 "$build/logs/apt.log" >&2
		die "apt-get install failed; see $build/logs/apt.log"
	}
}

# The files of the project, one a line: what git knows or would add, else everything but what
# builds leave behind.
source_files()
{
	if [[ -e $top/.git ]] && command -v git >/dev/null &&
		git -c safe.directory="$top" -C "$top" ls-files -co --exclude-standard 2>/dev/null; then
		return
	fi
	(cd "$top" && find . \( -name .git -o -name .libs -o -name .deps -o -path ./build -o -path ./build-aux \
		-o -path ./m4 -o -path ./autom4te.cache \) -prune -o -type f ! -name Makefile.in ! -name '*.o' \
		! -name '*.lo' ! -name '*.la' ! -path ./configure ! -path ./aclocal.m4 ! -path ./config.h.in \
		! -path ./config.status ! -path ./config.log ! -path ./config.h ! -path ./Makefile -printf '%P\n')
}

# Links the sources into build/src and makes configure there. The lock is held.
prepare_sources()
{
	local src=$build/src file
	mkdir -p "$src"
	while read -r file; do
		[[ -f $top/$file ]] || continue
		if [[ ! $src/$file -ef $top/$file ]]; then
			mkdir -p "$src/$(dirname "$file")"
			ln -sfn "$top/$file" "$src/$file"
		fi
	done < <(source_files)
	find "$src" -xtype l -delete
	if [[ ! -e $src/.generated ]]; then
		(cd "$src" && autoreconf -i) >"$build/logs/autoreconf.log" 2>&1 ||
			die "autoreconf failed; see $build/logs/autoreconf.log"
		touch "$src/.generated"
	fi
}

# Shows the last line of what comes in, in place, on a terminal.
show_last_line()
{
	local line
	if [[ ! -t 1 ]]; then
		cat >/dev/null
		return
	fi
	while IFS= read -r line; do
		printf '\r\033[K    %.70s' "$line"
	done
	printf '\r\033[K'
}

# configure_in DIR [OPTION...]: unless DIR was configured so before, from the same place.
configure_in()
{
	local dir=$1 stamp
	shift
	# Check decides whether there are unit tests: installed later, it is a new configuration.
	stamp="$top $* check=$(pkg-config --modversion check 2>/dev/null || true)"
	[[ $(cat "$dir/.configured" 2>/dev/null) != "$stamp" ]] || return 0
	# A tree that has moved holds the old path in many files.
	if [[ -e $dir/.configured && $(cat "$dir/.configured") != "$top "* ]]; then
		(cd "$dir" && find . -mindepth 1 -maxdepth 1 ! -name src ! -name logs ! -name '.*lock' \
			! -name '[a-z]*-logs' -exec rm -rf {} +)
	fi
	mkdir -p "$dir"
	# By a relative path: configure takes no absolute one with a space in it.
	(cd "$dir" && rm -f .configured && "$(realpath -m --relative-to=. "$build/src")/configure" --quiet "$@") \
		>"$build/logs/configure.log" 2>&1 || {
		tail -n 15 "$build/logs/configure.log" >&2
		die "configure failed; see $build/logs/configure.log and $dir/config.log"
	}
	printf '%s\n' "$stamp" >"$dir/.configured"
}

# build_in DIR OPTIONS TARGET...: configures (OPTIONS are words) and makes.
build_in()
{
	local dir=$1 options=$2 lock log started=$SECONDS
	shift 2
	check_path
	log=$build/logs/make-$(basename "$dir").log
	mkdir -p "$build/logs"
	exec {lock}>"$build/.lock"
	flock "$lock"
	(
		prepare_sources
		# shellcheck disable=SC2086 # options are words
		configure_in "$dir" $options
	) {lock}>&- || exit 1
	if make -C "$dir" -q "$@" >/dev/null 2>&1 {lock}>&-; then
		say "build: up to date (${dir#"$top"/}/)"
	elif { make -C "$dir" -j"$(nproc)" "$@" 2>&1 | tee "$log" | show_last_line; } {lock}>&-; then
		say "build: done in $((SECONDS - started)) s (${dir#"$top"/}/)"
	else
		grep -E -m 20 'error:|warning:|\*\*\*|undefined reference' "$log" >&2 || tail -n 20 "$log" >&2
		die "make failed; see $log"
	fi
	exec {lock}>&-
}
