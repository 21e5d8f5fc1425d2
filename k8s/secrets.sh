#!/bin/sh
# Makes the Secrets that k8s/base needs: a random password for each user of NATS. What is there stays.
# SLUICE_NAMESPACE names the namespace (default sluice).
set -eu

namespace=${SLUICE_NAMESPACE:-sluice}
kubectl get namespace "$namespace" >/dev/null 2>&1 || kubectl create namespace "$namespace" >/dev/null

for user in provisioner ingress builder publisher renderer reconciler notifier api ops route; do
	kubectl -n "$namespace" get secret "nats-$user" >/dev/null 2>&1 && continue
	# By a file that nobody else can open: arguments are for everybody to see.
	file=$(umask 077 && mktemp)
	printf 'p%s' "$(head -c 24 /dev/urandom | od -An -tx1 | tr -d ' \n')" >"$file"
	kubectl -n "$namespace" create secret generic "nats-$user" --from-file=password="$file" >/dev/null
	rm -f "$file"
done
echo "secrets: nats-* in $namespace" >&2
