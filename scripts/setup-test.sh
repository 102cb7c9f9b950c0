#!/bin/bash
# Makes sure that what the tests need is there: the PostgreSQL server binaries (the tests start
# private servers themselves; no service is set up), and a C compiler for the race detector.
# Does nothing where everything is there. WAYBILL_TEST_PGBIN names another place for the binaries.
set -euo pipefail

missing=()
if [[ -n "${WAYBILL_TEST_PGBIN:-}" ]]; then
	[[ -x "$WAYBILL_TEST_PGBIN/postgres" ]] || { echo "WAYBILL_TEST_PGBIN=$WAYBILL_TEST_PGBIN holds no postgres" >&2; exit 1; }
elif ! compgen -G '/usr/lib/postgresql/*/bin/postgres' >/dev/null; then
	missing+=(postgresql)
fi
command -v "${CC:-gcc}" >/dev/null || missing+=(gcc libc6-dev)

[[ ${#missing[@]} -eq 0 ]] && exit 0

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
