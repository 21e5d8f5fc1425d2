#!/bin/sh
# The tests: what the pages hold, from a known catalogue.
set -u
here=$(cd "$(dirname "$0")/.." && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
failed=0

check() { # WHAT EXPECTED ACTUAL
	if [ "$2" = "$3" ]; then
		echo "ok: $1"
	else
		echo "$0: $1: expected '$2', got '$3'" >&2
		failed=1
	fi
}

cp -r "$here/bin" "$here/VERSION" "$work/"
mkdir "$work/catalogue"
printf 'tea,450\nmug,1290\nbag,5\n' >"$work/catalogue/items.csv"
STAGE=test sh "$work/bin/render.sh" "$work" "$work/out"

check 'the version is told' "$(cat "$here/VERSION")" "$(sed 's/.*"version": "\([^"]*\)".*/\1/' "$work/out/version")"
check 'the stage is told' test "$(sed 's/.*"stage": "\([^"]*\)".*/\1/' "$work/out/version")"
check 'every item has a line' 3 "$(grep -c '<li>' "$work/out/index.html")"
check 'cents have two digits' 1 "$(grep -c 'bag <b>0.05</b>' "$work/out/index.html")"
check 'probes are answered' ok "$(cat "$work/out/healthz")"
check 'the catalogue has prices' 0 "$(grep -vc '^[a-z]*,[0-9]*$' "$here/catalogue/items.csv")"
exit $failed
