#!/bin/sh
# Makes the secrets of compose.yaml: a password for each user of NATS, the kubeconfig, and the variables of the nodes.
# What is there stays. SLUICE_SECRETS names the folder (default /etc/sluice/secrets), KUBECONFIG the cluster.
set -eu

dir=${SLUICE_SECRETS:-/etc/sluice/secrets}
config=${KUBECONFIG:-$HOME/.kube/config}
mkdir -p "$dir"
# The folder is closed; its files are open, because in the containers another user reads them.
chmod 700 "$dir"
umask 022

word() { head -c 24 /dev/urandom | od -An -tx1 | tr -d ' \n'; }

for user in provisioner ingress builder publisher renderer reconciler notifier api ops route; do
	[ -s "$dir/nats-$user" ] || printf 'p%s' "$(word)" >"$dir/nats-$user"
done

{
	for user in provisioner ingress builder publisher renderer reconciler notifier api ops route; do
		printf 'NATS_%s_PASSWORD=%s\n' "$(echo "$user" | tr a-z A-Z)" "$(cat "$dir/nats-$user")"
	done
	for node in 0 1 2; do
		printf 'ROUTE_%s=nats://route:%s@nats-%s:6222\n' "$node" "$(cat "$dir/nats-route")" "$node"
	done
} >"$dir/nats.env"

if [ -r "$config" ]; then
	cp "$config" "$dir/kubeconfig"
	chmod 644 "$dir/kubeconfig"
elif [ ! -s "$dir/kubeconfig" ]; then
	echo "secrets: there is no kubeconfig at $config; set KUBECONFIG and run this again" >&2
	exit 1
fi
echo "secrets: in $dir" >&2
