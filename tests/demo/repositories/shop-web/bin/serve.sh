#!/bin/sh
# The container's process: makes the pages, then serves them.
set -eu
here=$(cd "$(dirname "$0")/.." && pwd)
sh "$here/bin/render.sh" "$here" /tmp/www
echo "shop-web $(cat "$here/VERSION") listens on ${PORT:-8080}"
exec httpd -f -p "${PORT:-8080}" -h /tmp/www
