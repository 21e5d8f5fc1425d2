#!/bin/sh
# Makes the static files that the server sends: render.sh SOURCE TARGET
# STAGE says where the server runs; it comes from the ConfigMap.
set -eu
source=$1 target=$2

# price CENTS -> 12.90
price() { printf '%d.%02d' $(($1 / 100)) $(($1 % 100)); }

rows() {
	while IFS=, read -r name cents; do
		[ -n "$name" ] || continue
		printf '<li>%s <b>%s</b></li>\n' "$name" "$(price "$cents")"
	done <"$source/catalogue/items.csv"
}

version=$(cat "$source/VERSION")
mkdir -p "$target"
printf '{"service": "shop-web", "version": "%s", "stage": "%s"}\n' "$version" "${STAGE:-local}" >"$target/version"
printf 'ok\n' >"$target/healthz"
{
	printf '<!doctype html>\n<title>shop</title>\n<h1>Shop %s</h1>\n<ul>\n' "$version"
	rows
	printf '</ul>\n'
} >"$target/index.html"
